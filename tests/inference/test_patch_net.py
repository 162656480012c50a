"""From patches to logits of the same pixels: what is left out of the canvas changes nothing."""

import pytest
import torch

from common.inference.patch_net import PatchNet, _upsampling
from common.model import CanvasTransform, build_network, centre_crop
from common.recipe import A1, A1CLASS, A1RECIST, ACOSEG

MARK = torch.tensor([[[20, 60], [100, 60], [50, 40], [50, 100]]])


def lively_network(method, **options):
    """A network whose batch normalisations have seen something: of random weights alone, logits would all be alike."""
    torch.manual_seed(0)
    network = build_network(method, "resnet18", 4, **options).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.1, 1)
    return network


@pytest.fixture
def patches():
    return torch.randint(0, 256, (2, 120, 120, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("canvas", [(384, 480), (128, 128), (128, 480)])
@pytest.mark.parametrize("method", [A1, A1CLASS, ACOSEG])
def test_the_patch_gets_the_logits_that_it_has_on_the_whole_canvas(method, canvas, patches):
    network = lively_network(method)
    with torch.no_grad():
        logits = PatchNet(network, canvas)(patches)
        expected = network(CanvasTransform(canvas)(patches))
    expected["mask"] = centre_crop(expected["mask"])[:, 0]
    assert logits.keys() == expected.keys()
    assert logits["mask"].shape == (2, 120, 120)
    for name, value in expected.items():
        assert value.std() > 0.01
        assert (logits[name] - value).abs().max() < 1e-5 * value.abs().max()


def test_a_network_with_prompt_needs_the_marks(patches):
    network, canvas = lively_network(A1RECIST, prompt=True), (128, 128)
    patches = patches[:1]
    with torch.no_grad():
        logits = PatchNet(network, canvas)(patches, MARK)["mask"]
        images = CanvasTransform(canvas)(patches, MARK)
        expected = centre_crop(network(images)["mask"])[:, 0]
        moved = PatchNet(network, canvas)(patches, MARK + 5)["mask"]
    seen = centre_crop(images)[:, 3] > -1
    assert (logits - expected)[seen].abs().max() < 1e-5 * expected.abs().max()
    assert (moved - logits)[:, 50:70, 45:60].abs().max() > 0.01


def test_beyond_twice_the_marks_quarters_there_is_no_lesion(patches):
    class Everywhere(torch.nn.Module):
        def forward(self, images, decode):
            return {"mask": torch.ones(len(images), 1, 120, 120)}

    mask = PatchNet(Everywhere(), (384, 480))(patches[:1], MARK)["mask"][0]
    # Of (50, 60), where the diameters cross, 96 px to the right, 57.6 px to the left, 38.4 px above, 76.8 px below.
    assert ((mask[60] > 0).nonzero().min(), (mask[60] > 0).nonzero().max()) == (0, 119)
    assert ((mask[:, 50] > 0).nonzero().min(), (mask[:, 50] > 0).nonzero().max()) == (22, 119)
    assert mask[20, 50].sigmoid() == 0
    assert PatchNet(Everywhere(), (384, 480))(patches)["mask"].min() > 0


def test_a_third_of_each_side_is_decoded(patches):
    network, shapes = lively_network(A1), []
    for module in (network.decoder.aspp, network.decoder.block2):
        module[-1].register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[2:])))
    with torch.no_grad():
        PatchNet(network, (384, 480))(patches)
    # 120 of 384 rows lie on 32 of 96; with one each way these lie on 11 of 24, with one each way again. So the columns.
    assert shapes == [(12, 12), (34, 34)]


def test_weights_of_the_upsampling_by_hand():
    # Of 5 px from 3, with aligned corners, the second last lies halfway between the last two.
    weights, span = _upsampling(3, 5, slice(3, 4))
    assert span == slice(0, 3)
    assert weights.tolist() == [[0, 0.5, 0.5]]
    weights, span = _upsampling(5, 9, slice(1, 3))  # at 1/2 and at 1
    assert span == slice(0, 3)
    assert weights.tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
