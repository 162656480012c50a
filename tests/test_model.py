"""Networks: the published outputs and tensor names, ACoseg's attention, and the way from patches to logits."""

import copy
import json

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.patch_net import PatchNet
from common.losses import lesion_losses
from common.model import (
    MARK_EDGE,
    AtrousConv2d,
    CanvasTransform,
    CosegNet,
    _attend,
    build_network,
    centre_crop,
    check_encoder,
    count_flops,
)
from common.recipe import A1, A1CLASS, A1RECIST, ACOSEG
from common.utils.errors import UserError
from helpers import formula_network


@pytest.mark.parametrize(("method", "key"), [(A1CLASS, "A1class"), (ACOSEG, "Acoseg")])
def test_outputs_are_the_published_codes(method, key, shared, ham_prepared):
    order = json.loads((shared / "golden" / "trajectories_resnet18.json").read_text())["order"][:2]
    batch = next(LesionLoader(ham_prepared, np.array(order), "ellipse", (384, 480), torch.device("cpu")).batches(2))
    with torch.no_grad():
        outputs = formula_network(method, shared).eval()(batch.images)
    outputs["mask"] = outputs["mask"][..., ::8, ::8]
    with np.load(shared / "golden" / "forward_resnet18.npz") as golden:
        expected = {"mask": golden[f"{key}_0"]}
        if method.paired:  # one lesion on each side
            expected["mask"] = np.concatenate([golden[f"{key}_0"], golden[f"{key}_1"]])
        else:
            expected["cluster"] = golden[f"{key}_1"]
    for name, values in expected.items():
        assert np.abs(outputs[name].numpy() - values).max() <= 1e-5 * np.abs(values).max()


@pytest.mark.parametrize(
    ("key", "method", "clusters"),
    [("A1", A1, 45), ("A1class_K45", A1CLASS, 45), ("A1class_K40", A1CLASS, 40), ("A1class_K190", A1CLASS, 190),
     ("Acoseg", ACOSEG, 45)],
)  # fmt: skip
def test_tensors_bear_the_published_names_and_shapes(key, method, clusters, shared):
    manifest = json.loads((shared / "golden" / "state_dict_manifest.json").read_text())[key]
    state = build_network(method, "resnet101", clusters).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == manifest


@pytest.mark.parametrize("method", [A1, A1CLASS, A1RECIST])
def test_a_prompt_changes_the_first_convolution_alone_and_adds_its_weight(method):
    plain, prompted = (build_network(method, "resnet18", 4, prompt=prompt).state_dict() for prompt in (False, True))
    assert prompted.pop("prior") == 4
    assert plain.keys() == prompted.keys()
    shapes = {name: (value.shape, prompted[name].shape) for name, value in plain.items()}
    other = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    assert other == {"encoder.conv1.weight": ((64, 3, 7, 7), (64, 4, 7, 7))}


UNDILATED = ("vgg", "densenet", "inception", "xception")
"""Encoders of segmentation-models-pytorch that can't be dilated start so."""


@pytest.mark.parametrize("encoder", smp.encoders.get_encoder_names())
def test_every_encoder_of_the_library_fits_or_is_refused(encoder):
    """What fits is built without memory here; a step of each has been trained by hand."""
    if encoder.startswith(UNDILATED):
        with pytest.raises(UserError, match=rf"^--encoder {encoder} can't be used: .*; try one of resnet18, [^\n]*$"):
            check_encoder(encoder, (64, 64))
    else:
        check_encoder(encoder, (64, 64))


@pytest.mark.parametrize("method", [A1, A1CLASS, ACOSEG, A1RECIST])
@pytest.mark.parametrize(
    "encoder", ["efficientnet-b0", "mobilenet_v2", "mit_b0", "timm-skresnet18", "tu-convnext_atto"]
)
def test_a_step_with_other_encoders(encoder, method):
    prompt = method is A1RECIST
    network = build_network(method, encoder, 3, prompt=prompt)
    first = next(network.encoder.parameters())  # the last that a gradient reaches
    before, optimizer = first.detach().clone(), torch.optim.Adam(network.parameters(), fused=True)
    images, masks = torch.randn(2, 3 + prompt, 64, 64), torch.ones(2, 1, 64, 64)
    outputs = network(images)
    loss = sum(lesion_losses(outputs, masks, torch.tensor([0, 2])).values())
    loss.backward()
    optimizer.step()
    assert outputs["mask"].shape == masks.shape
    assert torch.isfinite(loss)
    assert not torch.equal(first, before)


def test_building_a_network_to_try_an_encoder_takes_no_random_numbers():
    weights = []
    check_encoder.cache_clear()
    for _ in range(2):
        torch.manual_seed(0)
        weights.append(next(build_network(A1, "mit_b0", 1, (64, 64)).parameters()))
    assert torch.equal(*weights)


def test_dropouts_are_the_published_ones():
    network = build_network(A1CLASS, "resnet18", 4)
    dropouts = {name: module.p for name, module in network.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert dropouts == {"decoder.aspp.0.project.3": 0.5, "classification_head.2": 0.2}


@pytest.mark.parametrize(
    ("encoder", "sentence"),
    [
        ("resnet7", "resnet7 is not an encoder"),
        ("tu-resnet7", "tu-resnet7 is not an encoder"),
        ("tu-hf-hub:owner/name", "is not an encoder"),  # nothing is downloaded for a name
        ("tu-resnet18.no_such_weights", "can't be used: .*no_such_weights"),
        ("tu-vit_tiny_patch16_224", "can't be used: DeepLabV3"),
        ("tu-coat_mini", "can't be used: DeepLabV3"),
        ("tu-bat_resnext26ts", "1/4 and 1/16 of a canvas of 144x176 px"),
    ],
)
def test_an_unknown_or_unfit_encoder_is_an_error(encoder, sentence):
    with pytest.raises(UserError, match=sentence):
        build_network(A1, encoder, 4, (144, 176))


@pytest.mark.parametrize("method", [A1CLASS, ACOSEG])
def test_floating_point_operations_are_those_of_the_convolutions(method):
    network, counts = build_network(method, "resnet18", 4), []

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        inputs = module.weight[0].numel()  # of one output: channels of its group, times the kernel's area
        counts.append(2 * inputs * output.numel())

    for module in set(network.modules()):
        if isinstance(module, AtrousConv2d):
            continue  # a product on a map as small as this, which is not counted
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    assert count_flops(network, (128, 144)) == 3 * sum(counts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_by_hand(dtype):
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]], dtype=dtype)  # means 2 and 2
    squeeze, excite = torch.nn.Linear(2, 1, dtype=dtype), torch.nn.Linear(1, 2, dtype=dtype)
    with torch.no_grad():
        squeeze.weight.fill_(0.25)
        squeeze.bias.zero_()  # hidden: tanh(1)
        excite.weight.copy_(torch.tensor([[0.0], [1.0]]))
        excite.bias.zero_()
        scaled = _attend(features, squeeze, excite)
    weight = torch.sigmoid(torch.tanh(torch.tensor(1.0, dtype=dtype)))
    torch.testing.assert_close(scaled, torch.tensor([[[[0.5, 1.5]], [[2 * weight, 2 * weight]]]], dtype=dtype))


def test_attention_is_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    squeeze, excite = torch.nn.Linear(64, 256), torch.nn.Linear(256, 64)
    features = torch.randn(2, 64, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        scaled = _attend(features, squeeze, excite)
    gate = torch.sigmoid(excite(torch.tanh(squeeze(features.float().mean(dim=(2, 3))))))
    assert scaled.dtype == torch.bfloat16
    assert torch.equal(scaled, features * gate[:, :, None, None].bfloat16())


def test_a_prediction_of_acoseg_does_not_depend_on_its_partner():
    network = CosegNet("resnet18").eval()
    images = torch.randn(3, 3, 128, 128)
    with torch.no_grad():
        batch, alone = network(images)["mask"][:1], network(images[:1])["mask"]
    torch.testing.assert_close(batch, alone, rtol=1e-4, atol=1e-5)


def test_the_parts_of_acoseg_are_shared_not_copied():
    network = CosegNet("resnet18")
    state = network.state_dict()
    assert state["deeplab_model.encoder.conv1.weight"].data_ptr() == state["deeplab_encoder.conv1.weight"].data_ptr()
    assert network.encoder is network.deeplab_model.encoder


def test_images_are_divided_by_255_only_where_their_maximum_exceeds_1():
    patches = torch.zeros(2, 120, 120, 3)
    patches[0] = 1.0
    patches[1] = 255.0
    images = CanvasTransform((128, 128))(patches)
    torch.testing.assert_close(images[0], images[1])
    assert images[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)


def test_masks_are_mirrored_like_images():
    patches = torch.randint(0, 2, (1, 120, 120), dtype=torch.uint8)
    transform = CanvasTransform((384, 480))
    masks = transform.masks(patches)
    assert masks.shape == (1, 1, 384, 480)
    torch.testing.assert_close(centre_crop(masks)[0, 0], patches[0].float())
    assert masks[0, 0, 131, 200] == masks[0, 0, 133, 200]
    images = transform(patches[..., None].expand(-1, -1, -1, 3))
    assert torch.equal((images[:, :1] > 0).float(), masks)


MARK = torch.tensor([[[20, 60], [100, 60], [50, 40], [50, 100]]])  # crosses at (50, 60); its parts: 30, 50, 20, 40 px


@pytest.mark.parametrize("canvas", [(128, 128), (384, 480)])
def test_the_prompt_by_hand(canvas):
    patches = torch.full((1, 120, 120, 3), 128, dtype=torch.uint8)
    transform = CanvasTransform(canvas)
    images = transform(patches, MARK)
    assert images.shape == (1, 4, *canvas) and images.dtype == torch.float32
    assert torch.equal(images[:, :3], transform(patches))
    prompt = centre_crop(images)[0, 3]
    at = {(x, y): prompt[y, x].item() for x, y in [(50, 60), (22, 60), (99, 60), (50, 41), (50, 100)]}
    # Where the diameters cross 2; inside of 0.96 of a part above 1, outside below 0.
    inside, outside = {(22, 60): 2 - 28 / 30 / 0.96, (50, 41): 2 - 19 / 20 / 0.96}, {(99, 60): 1 - 49 / 50 / 0.96}
    assert at == pytest.approx({(50, 60): 2, (50, 100): 1 - 1 / 0.96} | inside | outside, abs=1e-5)
    # Halfway along a part, one and a half times as far, on the diagonal of a quarter's box, and too far out.
    values = [prompt[y, x].item() for x, y in [(35, 60), (75, 60), (50, 30), (20, 40), (100, 100), (0, 20), (50, 10)]]
    diagonal = 1 - 2**0.5 / 0.96
    assert values == pytest.approx([2 - 0.5 / 0.96] * 2 + [1 - 1.5 / 0.96, diagonal, diagonal, -1, -1], abs=1e-5)
    assert (prompt.min(), prompt.max()) == (-1, pytest.approx(2))
    if canvas == (384, 480):  # mirrored like the image
        assert torch.equal(images[0, :, 131, 200], images[0, :, 133, 200])


def test_the_prompt_of_a_quarters_mask_is_its_inside(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    ends = torch.from_numpy(np.array(dataset.array("ends")[:8]))
    prompts = centre_crop(CanvasTransform((128, 128))(torch.zeros(8, 120, 120, 3), ends))[:, 3]
    np.testing.assert_array_equal(prompts > MARK_EDGE, dataset.array("quarters")[:8] > 0)


def test_a_network_that_sees_nothing_answers_with_the_mark(phantom_ham):
    """The logits begin at 4 x (prompt - 1/2), on the canvas and on the patch; what the network makes of it is added."""
    network = build_network(A1RECIST, "resnet18", 4, prompt=True).eval()
    torch.nn.init.zeros_(network.segmentation_head[0].weight)
    torch.nn.init.zeros_(network.segmentation_head[0].bias)
    dataset = LesionDataset.open(phantom_ham / "prepared")
    patches, ends = (torch.from_numpy(np.array(dataset.array(name)[:3])) for name in ("images", "ends"))
    with torch.no_grad():
        images = CanvasTransform((128, 144))(patches, ends)
        on_canvas = network(images)["mask"]
        torch.testing.assert_close(on_canvas, 4 * images[:, 3:] - 2)
        on_patch = PatchNet(network, (128, 144))(patches, ends)["mask"]
        np.testing.assert_array_equal(on_patch > 0, dataset.array("quarters")[:3])
        torch.nn.init.constant_(network.segmentation_head[0].bias, 1.5)
        torch.testing.assert_close(network(images)["mask"], on_canvas + 1.5)


@pytest.mark.parametrize(
    "ends",
    [
        [[20, 60], [100, 60], [30, 70], [90, 70]],  # parallel
        [[20, 60], [100, 60], [30, 60], [90, 60]],  # on one line
        [[20, 60], [20, 60], [20, 60], [20, 60]],  # a point
        [[20, 60], [100, 60], [50, 60], [50, 60]],  # no short diameter
    ],
)
def test_a_mark_without_an_inside_is_a_prompt_of_nothing(ends):
    images = CanvasTransform((128, 128))(torch.zeros(1, 120, 120, 3), torch.tensor([ends]))
    assert (images[:, 3] == -1).all()


def test_the_transform_adds_no_tensor_to_a_checkpoint():
    assert not CanvasTransform((128, 128)).state_dict()


@pytest.mark.parametrize("size", [(24, 30), (8, 8), (40, 20)])
@pytest.mark.parametrize("rate", [12, 24, 36])
def test_taps_that_see_only_padding_are_left_out(rate, size):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(6, 6, 3, padding=rate, dilation=rate, groups=6, bias=False)
    ours = copy.deepcopy(plain)
    AtrousConv2d.replace(torch.nn.Sequential(ours))
    features = torch.randn(2, 6, *size).to(memory_format=torch.channels_last)
    results = []
    for module in (plain, ours):
        images = features.clone().requires_grad_()
        out = module(images)
        out.backward(features.cos())
        assert out.is_contiguous(memory_format=torch.channels_last)
        results.append([out, images.grad, module.weight.grad])
    for expected, result in zip(*results, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    for rows, columns in ((slice(2, 5), slice(3, 9)), (slice(0, 8), slice(6, 8))):
        part = plain(features)[..., rows, columns]
        torch.testing.assert_close(ours(features, rows, columns), part, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(features.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("method", [A1, ACOSEG])
def test_the_pyramid_of_every_network_leaves_them_out(method):
    modules = [*build_network(method, "resnet18", 1).modules()]
    assert sum(isinstance(module, AtrousConv2d) for module in modules) == 3
