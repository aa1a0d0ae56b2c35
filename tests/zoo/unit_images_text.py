"""What the page on images of units says, apart from what is measured."""

HEAD = """# Images of units, thin and wide

Figure 5, figure E13 and table 2 of Casper et al., "Frivolous Units: Wider Networks Are Not Really
That Wide", AAAI 2021, arXiv:1912.04783, with networks of the [CIFAR-10 study](../cifar/README.md),
and images of units of networks that others trained and published in packages.
[Images of units](../../visualize.md) describes the method and the measure.

```console
$ python -m tests.zoo.unit_images
```

*Not run by the tests: it takes hours.*

It runs `frivkit visualize` for each network, in the root of a checkout in which `cifar10` is the
folder of the images, stores the results and the images of the study's networks in `data/`,
and writes this page; with `--page` it only writes the page.
A run that was interrupted goes on in `build/visualization`.
The paper's figures are drawn from what is stored:

```console
$ frivkit figure 5 docs/reproduction/visualization/data/ResNet20 -o 5.png
$ frivkit figure e13 docs/reproduction/visualization/data/ResNet20 -o e13.png
$ frivkit figure table2 docs/reproduction/visualization/data/ResNet20 -o table2.png
```

## The networks

The networks are those of figure 4a with true labels, with seed 0: ResNet20s of widths 1/8, 1/4 and
1, and AlexNets with all regularisers of widths 1/16 and 1/4.
They were trained again as [the study](../cifar/README.md#the-networks-themselves) says.
Test accuracy (ResNet20: 0.43, 0.51 and 0.62; AlexNet: 0.28 and 0.60) and number of epochs are those
that the sweep recorded.
Their files are in `networks/`.
Layers of the ResNet20s are the ends of the stages, as in the paper.

The narrow networks are so narrow that early layers have two to eight units: with 2 units against 4
no p can be below 0.067, against 8 none below 0.022.

## Thin against wide

A small p says that the images of the thin network's units vary less, an effect below 1 says the
same; units are those of the thin and of the wide layer.
"""

PAPER_HEAD = """### The paper's table 2

ResNet18 at widths 1/4 and 4 and Inception-v3 at widths 1/4 and 1, trained on ImageNet, 8 units
against 8; the numbers are printed in the paper ([paper.json](paper.json)).
"""

CONTROL = """### What is seen

In the AlexNets the thin network's images vary less in every layer, and in the last one beyond
chance, also after the correction (`fc4`, by pixels; `fc3` by frequencies before it).
So it is in the last layers of the paper's ResNet18 and, by pixels, of its Inception-v3.
Two units of the thin AlexNet, one of `conv2` and one of `fc4`, are excited no more than by the
first images, and may be dead; their images vary least.
In the ResNet20s no difference is beyond chance after the correction; against the widest one the
sign differs from layer to layer, as in the paper's earlier layers.

## Without training

The same networks with initial weights are a control: whatever they show is not learned.
Cells are effects by pixels, with p in parentheses.
"""

AFTER_CONTROL = """By chance, one in twenty should be so.
So the test calls differences where nothing was learned, in both directions, as the initial weights
have it: the units of a network share its earlier layers, and are no independent draws.
A small or large p between two trained networks therefore does not show that width made units easier
to interpret; many networks of each width would be needed.
In the AlexNets no untrained layer has a p below 0.025, and `fc4` of the trained ones has: training
made that difference here, as far as one network of each width and three controls can tell.
Nor does total variation tell what is trained: training lowers it in all layers of the thin
ResNet20, and raises it in most layers of the wide ones.
The paper, with one network of each width, has no such control.
"""

PICTURES = """## Images of the study's networks

The images of the thin network are above those of the wide one.
"""

PACKAGED_HEAD = """## Packaged networks

The range and the colours of pixels come from the examples that are named.
Activations are those behind the nonlinearity.
"""
