"""Images by gradient ascent: parameterisations, views, and known answers."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from frivkit_featurevis.ascent import Ascent, RedirectedRelu, ascend, unit_activations
from frivkit_featurevis.fourier import FourierImages, frequencies, value_range
from frivkit_featurevis.phases import PhaseImages, mean_magnitudes
from frivkit_featurevis.transforms import RandomViews, standard_views


def _generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def _photographs(channels: int = 3, side: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    grey = torch.rand(64, 1, side, side, generator=generator)
    return 2 * grey - 1 + 0.1 * torch.rand(64, channels, side, side, generator=generator)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pixels_stay_in_the_range_of_the_data(channels: int) -> None:
    pixels = value_range(_photographs(channels))
    made = FourierImages((2, channels, 9, 12), pixels, _generators(2))
    with torch.no_grad():
        made.coefficients.mul_(1e4)
    images = made()
    assert images.shape == (2, channels, 9, 12)
    assert (images >= pixels.low[:, None, None] - 1e-5).all()
    assert (images <= pixels.high[:, None, None] + 1e-5).all()


def test_channels_that_vary_together_are_mixed() -> None:
    colours = value_range(_photographs()).colours.double()
    covariance = colours @ colours.T
    scale = covariance.diagonal().sqrt()
    assert (covariance / torch.outer(scale, scale) > 0.9).all()  # grey photographs
    assert colours.norm(dim=0).max() == pytest.approx(1)


def test_constant_images_have_a_range() -> None:
    pixels = value_range(torch.ones(3, 3, 4, 4))
    assert (pixels.high > pixels.low).all()
    assert torch.equal(pixels.colours, torch.eye(3))


def test_frequencies_are_those_of_numpy() -> None:
    expected = np.hypot(np.fft.fftfreq(6)[:, None], np.fft.rfftfreq(9)[None, :])
    np.testing.assert_allclose(frequencies(6, 9).numpy(), expected, atol=1e-7)


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    pixels = value_range(_photographs())
    three = FourierImages((3, 3, 8, 8), pixels, _generators(3))()
    last = FourierImages((1, 3, 8, 8), pixels, _generators(1, seed=2))()
    torch.testing.assert_close(three[2:], last)


def test_phase_images_have_the_magnitudes_of_the_data() -> None:
    images = _photographs(1)
    pixels = value_range(images)
    magnitudes, mean = mean_magnitudes(images, pixels)
    small = magnitudes * 0.01  # so that no pixel is cut
    made = PhaseImages(small, mean, (12, 12), pixels, _generators(1))().detach()
    shares = pixels.shares(made) - mean[:, None, None]
    found = torch.fft.rfft2(shares)[0].abs()
    torch.testing.assert_close(found[:, 1:12, 1:6], small[:, 1:12, 1:6], rtol=1e-3, atol=1e-4)
    assert float(pixels.shares(made).mean()) == pytest.approx(float(mean), abs=1e-4)


def test_a_view_without_change_is_the_image() -> None:
    images = _photographs()
    still = RandomViews(0, 0.0, 0.0, 0)
    viewed = still(images, torch.zeros(3), torch.Generator())
    torch.testing.assert_close(viewed, images, atol=1e-5, rtol=1e-5)


def test_a_view_shows_grey_outside_and_keeps_a_constant_image() -> None:
    views, generator = standard_views(64, 48), torch.Generator().manual_seed(0)
    images, grey = torch.ones(1, 3, 64, 48), torch.tensor([0.1, 0.2, 0.3])
    for _ in range(5):
        viewed = views(images, grey, generator)
        assert viewed.shape == images.shape
        assert (viewed[0, 2] >= 0.3 - 1e-5).all()
        assert (viewed[0, 2] <= 1 + 1e-5).all()
    same = views(grey[None, :, None, None].expand(1, 3, 64, 48), grey, generator)
    torch.testing.assert_close(same[0, :, 5, 7], grey)


def test_a_turn_of_a_wide_image_keeps_distances() -> None:
    views = RandomViews(0, 0.0, 90.0, 0)
    images = torch.zeros(1, 1, 9, 15)
    images[0, 0, 4, 10] = 1  # three pixels right of the middle
    viewed = views(images, torch.zeros(1), torch.Generator().manual_seed(3))
    down, right = torch.meshgrid(torch.arange(9) - 4.0, torch.arange(15) - 7.0, indexing="ij")
    distance = (viewed[0, 0] * torch.hypot(down, right)).sum() / viewed.sum()
    assert float(distance) == pytest.approx(3, abs=0.3)


def test_the_image_of_a_linear_unit_is_its_own_filter() -> None:
    torch.manual_seed(0)
    filters = torch.randn(4, 3, 8, 8)
    pixels = value_range(torch.rand(50, 3, 8, 8))
    made = FourierImages((4, 3, 8, 8), pixels, _generators(4))
    found = ascend(
        made,
        lambda images: torch.einsum("nchw,uchw->nu", images, filters),
        range(4),
        Ascent(256, "mean", None),
        torch.Generator(),
        grey=pixels.low,
    )
    for unit, (image, own) in enumerate(zip(found.images, filters, strict=True)):
        best = torch.where(own > 0, pixels.high[:, None, None], pixels.low[:, None, None])
        assert found.after[unit] > 0.9 * float((best * own).sum())
        strong = own.abs() > 0.5
        bright = pixels.shares(image[None])[0] > 0.5
        assert float((bright == (own > 0))[strong].float().mean()) > 0.95
        assert found.after[unit] > found.before[unit]


def test_a_silent_unit_is_woken() -> None:
    torch.manual_seed(1)
    filters = torch.randn(2, 1, 6, 6)
    pixels = value_range(torch.rand(50, 1, 6, 6))

    def activations(images: Tensor) -> Tensor:
        return functional.relu(torch.einsum("nchw,uchw->nu", images, filters) - 6)

    made = FourierImages((2, 1, 6, 6), pixels, _generators(2))
    found = ascend(
        made, activations, [0, 1], Ascent(128, "mean", None), torch.Generator(), grey=pixels.low
    )
    assert found.before == (0.0, 0.0)
    assert min(found.after) > 0


def test_redirected_gradients_are_the_usual_ones_where_there_are_any() -> None:
    values = torch.tensor([[1.0, -1.0], [-1.0, -2.0]], requires_grad=True)
    with RedirectedRelu():
        functional.relu(values).backward(torch.tensor([[-1.0, -1.0], [-1.0, 1.0]]))
    assert values.grad is not None
    assert values.grad.tolist() == [[-1.0, 0.0], [-1.0, 0.0]]


def test_the_mean_over_positions_or_the_one_in_the_middle() -> None:
    maps, units = torch.arange(30.0).reshape(1, 2, 3, 5), torch.tensor([1])
    assert unit_activations(maps, units, "mean").tolist() == [22.0]
    assert unit_activations(maps, units, "centre").tolist() == [15 + 7]
    assert unit_activations(torch.tensor([[3.0, 4.0]]), units, "mean").tolist() == [4.0]


def test_seeds_repeat_to_the_bit() -> None:
    torch.manual_seed(0)
    filters = torch.randn(2, 1, 16, 16)
    pixels = value_range(torch.rand(20, 1, 16, 16))

    def found() -> Tensor:
        return ascend(
            FourierImages((2, 1, 16, 16), pixels, _generators(2)),
            lambda images: torch.einsum("nchw,uchw->nu", images, filters),
            [0, 1],
            Ascent(8, "mean", standard_views(16, 16)),
            torch.Generator().manual_seed(4),
            grey=pixels.low,
        ).images

    assert torch.equal(found(), found())
