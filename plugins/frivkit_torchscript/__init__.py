"""Built-in model providers for files of torch: TorchScript, and programs of ``torch.export``."""
