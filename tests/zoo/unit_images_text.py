"""What the page on images of units says, apart from what is measured."""

HEAD = """# Images of units, thin and wide

Figure 5, figure E13 and table 2 of Casper et al., "Frivolous Units: Wider Networks Are Not Really
That Wide", AAAI 2021, arXiv:1912.04783, with networks of the [CIFAR-10 study](../cifar/README.md),
and images of units of networks that others trained and published in packages.
[Images of units](../../visualize.md) describes the method and the measure.

```
$ python -m tests.zoo.unit_images
```

It runs `frivkit visualize` for each network, in the root of a checkout in which `cifar10` is the
folder of the images, stores the results and the images of the study's networks in `data/`,
and writes this page; with `--page` it only writes the page.
A run that was interrupted goes on in `build/visualization`.
The paper's figures are drawn from what is stored:

```
$ frivkit figure 5 docs/reproduction/visualization/data/ResNet20 -o 5.png
$ frivkit figure e13 docs/reproduction/visualization/data/ResNet20 -o e13.png
$ frivkit figure table2 docs/reproduction/visualization/data/ResNet20 -o table2.png
```

## The networks

The ResNet20s are those of figure 4a with true labels, at widths 1/8 and 1/4 and with seed 0,
trained again as [the study](../cifar/README.md#the-networks-themselves) says; their test accuracy
(0.43 and 0.51) and number of epochs are those that the sweep recorded.
Their files are in `networks/`.
The layers are the ends of the blocks, as in the paper.

These are not the widest networks of the study: the wide one is twice as wide as the thin one, where
the paper's ResNet18s differ by a factor of 16 and its Inceptions by 4.
They are so narrow that early layers have two to four units, and with 2 units against 4 no p can be
below 0.067: only in the last layer are there 8 units against 8.
AlexNets and wider ResNets are missing.

## Thin against wide

A small p says that the images of the thin network's units vary less, an effect below 1 says the
same; units are those of the thin and of the wide layer.
"""

PAPER_HEAD = """### The paper's table 2

ResNet18 at widths 1/4 and 4 and Inception-v3 at widths 1/4 and 1, trained on ImageNet, 8 units
against 8; the numbers are printed in the paper ([paper.json](paper.json)).
"""

CONTROL = """### What is seen

In the trained networks the thin one's images vary less in every layer, but no difference is beyond
chance, least of all after the correction.
The paper found differences in both directions and no consistent trend over layers.
Nothing here contradicts it, and four layers of networks that differ by a factor of 2 in width are
too few to confirm it.

## Without training

The same networks with initial weights are a control: whatever they show is not learned.
Cells are effects by pixels, with p in parentheses.
"""

AFTER_CONTROL = """By chance, one in twenty should be so.
So the test calls differences where nothing was learned, in both directions, as the initial weights
have it: the units of a network share its earlier layers, and are no independent draws.
A small or large p between two trained networks therefore does not show that width made units easier
to interpret; many networks of each width would be needed.
Nor does total variation tell what is trained: with these weights, training lowers it in all layers
of the thin network, and raises it in three of four of the wide one.
The paper, with one network of each width, has no such control.
"""

PICTURES = """## Images of the study's networks

The images of the thin network are above those of the wide one.
"""

PACKAGED_HEAD = """## Packaged networks

The range and the colours of pixels come from the examples that are named.
Activations are those behind the nonlinearity.
"""
