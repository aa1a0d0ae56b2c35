"""Built-in ablation meter: prunability under the paper's protocol and its published code's."""
