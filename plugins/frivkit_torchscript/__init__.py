"""Built-in model provider for files of TorchScript and ``torch.export``."""
