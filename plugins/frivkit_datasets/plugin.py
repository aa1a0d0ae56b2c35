"""The offers of this plugin: data sources that download nothing."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def data_sources() -> list[Offer]:
    """Offer the built-in data sources."""
    return [
        Offer(
            "cifar10", "frivkit_datasets.cifar10:cifar10", "folder of CIFAR-10, Python or binary"
        ),
        Offer("digits", "frivkit_datasets.digits:digits", "8x8 digits, part of scikit-learn"),
        Offer("gaussian", "frivkit_datasets.gaussian:gaussian", "independent normal numbers"),
        Offer("hdf5", "frivkit_datasets.hdf5:hdf5", "datasets x and y of an HDF5 file"),
        Offer("idx", "frivkit_datasets.idx:idx", "folder of MNIST or Fashion-MNIST files"),
        Offer("imagenet", "frivkit_datasets.images:imagenet", "folders train and val of ImageNet"),
        Offer("images", "frivkit_datasets.images:images", "image files, or a folder per class"),
        Offer("npy", "frivkit_datasets.npy:npy", "array of a NumPy .npy file"),
        Offer("npz", "frivkit_datasets.npz:npz", "arrays x and y of a NumPy .npz file"),
        Offer(
            "teacher", "frivkit_datasets.teacher:teacher", "normal numbers, labelled by a network"
        ),
    ]
