"""Running the program many times: forked processes, verdicts, trials and their store."""
