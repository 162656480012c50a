"""A checkpoint of any method predicts patches, as its own settings say, and every prediction belongs to its lesion."""

import numpy as np
import pytest
import torch

from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.predictor import BATCH_SIZE, Predictor, fold_batch_norms
from common.model import CanvasTransform, build_network, centre_crop
from common.recipe import A1, A1CLASS, ACOSEG, DatasetInfo
from common.training.checkpoint import TrainedModel, save_checkpoint, save_tensors
from common.utils.errors import UserError
from common.weak_masks import quarters_mask

CPU = torch.device("cpu")
OWN = {"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected", "dataset": "Toy"}


@pytest.fixture
def toy(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", ("toy_data.py",), 4, "truth")


def random_patches(count):
    return np.random.default_rng(0).integers(0, 256, (count, 120, 120, 3)).astype(np.uint8)


@pytest.mark.parametrize("method", [A1, A1CLASS, ACOSEG], ids=str)
def test_settings_come_from_the_checkpoint(method, toy, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "a.pt", build_network(method, "resnet18", 7), OWN)
    predictor = Predictor.load(tmp_path / "a.pt", toy, device="cpu")
    model = predictor.model
    assert (model.method, model.encoder, model.canvas, model.protocol, model.settings) == (
        method, "resnet18", (128, 144), "corrected", OWN)  # fmt: skip
    assert (predictor.device, predictor.precision) == (CPU, "fp32")
    patches = random_patches(9)
    probabilities = predictor.probabilities(list(patches))
    assert (probabilities.shape, probabilities.dtype) == ((9, 120, 120), np.float32)
    assert 0 < probabilities.min() < probabilities.max() < 1
    # A patch's prediction does not depend on its neighbours in the batch: the ninth goes alone.
    np.testing.assert_allclose(predictor.probabilities(patches[8:])[0], probabilities[8], atol=1e-5)


def test_a_released_checkpoint_takes_flags(toy, tmp_path):
    save_tensors(tmp_path / "a.pt", {"model_dict": build_network(A1, "resnet18", 1).state_dict()})
    flags = {"encoder": "resnet18", "canvas": (128, 128), "protocol": "corrected"}
    model = Predictor.load(tmp_path / "a.pt", toy, device="cpu", **flags).model
    assert (model.encoder, model.canvas, model.protocol) == ("resnet18", (128, 128), "corrected")
    with pytest.raises(UserError, match="pass --encoder"):
        Predictor.load(tmp_path / "a.pt", toy, device="cpu")  # the published resnet101


def test_a_checkpoint_of_another_dataset_is_refused(toy, tmp_path):
    save_checkpoint(tmp_path / "a.pt", build_network(A1, "resnet18", 1), OWN | {"dataset": "Other"})
    with pytest.raises(UserError, match="was trained on Other, not on Toy; use it for Other"):
        Predictor.load(tmp_path / "a.pt", toy, device="cpu")
    assert Predictor.load(tmp_path / "a.pt", device="cpu").model.settings["dataset"] == "Other"


@pytest.mark.parametrize("method", [A1, A1CLASS, ACOSEG], ids=str)
def test_logits_are_those_of_the_networks_own_canvas_in_the_middle(method):
    torch.manual_seed(0)
    network = build_network(method, "resnet18", 7).eval()
    predictor = Predictor(TrainedModel(network, method, "resnet18", (128, 144), 7, "released", {}), CPU, "fp32")
    patches = torch.from_numpy(random_patches(1))
    logits = predictor.logits(patches)
    with torch.no_grad():
        on_canvas = network(CanvasTransform((128, 144))(patches))
    assert on_canvas["mask"].shape == (1, 1, 128, 144)
    torch.testing.assert_close(logits.pop("mask"), on_canvas.pop("mask")[:, 0, 4:124, 12:132], atol=1e-5, rtol=0)
    assert logits.keys() == on_canvas.keys()
    for name in logits:
        torch.testing.assert_close(logits[name], on_canvas[name], atol=1e-5, rtol=0)


class Green(torch.nn.Module):
    """The logit of a pixel is its green channel, normalised: above 0 where it exceeds 0.456 x 255 = 116.28."""

    def forward(self, images, decode=None):
        return {"mask": centre_crop(images[:, 1:2])}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(TrainedModel(Green(), A1, "none", (128, 144), None, "released", {}), CPU, "fp32")


@pytest.fixture
def dataset(tmp_path) -> LesionDataset:
    """19 lesions whose images are noise."""
    np.save(tmp_path / "images.npy", random_patches(19))
    return LesionDataset(tmp_path, {}, [{"lesion": f"n{row}"} for row in range(19)])


def expected_masks(dataset):
    return (dataset.array("images")[..., 1] >= 117).astype(np.uint8)


def test_masks_come_with_their_rows_and_in_order(predictor, dataset):
    rows = np.delete(np.arange(19), [0, 7])
    batches = list(predictor.masks(LesionLoader(dataset, rows, "ellipse", (128, 144), CPU), 5))
    assert [len(batch_rows) for batch_rows, _ in batches] == [5, 5, 5, 2]
    assert np.concatenate([batch_rows for batch_rows, _ in batches]).tolist() == rows.tolist()
    masks = np.concatenate([masks for _, masks in batches])
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, expected_masks(dataset)[rows])


def test_a_batch_is_yielded_once_the_next_is_under_way(predictor, dataset):
    started = []
    predictor.model.network.register_forward_hook(lambda *_: started.append(1))
    loader = LesionLoader(dataset, np.arange(8), "ellipse", (128, 144), CPU)
    assert [len(started) for _ in predictor.masks(loader, 3)] == [2, 3, 3]


@pytest.mark.parametrize("rows", [[3], [2, 3, 5], [17, 0, 9, 4], [*range(18, -1, -1)]], ids=len)
def test_masks_of_rows_come_in_the_order_of_the_rows(predictor, dataset, rows):
    np.testing.assert_array_equal(predictor.mask_rows(dataset, np.array(rows)), expected_masks(dataset)[rows])


@pytest.mark.parametrize("count", [1, BATCH_SIZE, BATCH_SIZE + 1])
def test_probabilities_are_the_logits_sigmoid(predictor, count):
    patches = random_patches(count)
    probabilities = predictor.probabilities(list(patches))
    logits = (patches[..., 1] / 255 - 0.456) / 0.224
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_array_equal(probabilities > 0.5, patches[..., 1] >= 117)


def test_a_lack_of_memory_advises_no_flag_that_predicting_lacks(predictor, dataset, monkeypatch):
    def forward(images, decode):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(predictor.model.network, "forward", forward)
    loader = LesionLoader(dataset, np.arange(8), "ellipse", (128, 144), CPU)
    with pytest.raises(UserError, match=r"^out of memory at a canvas of 128x144 px; .* --device cpu$"):
        predictor.probabilities(random_patches(1))
    with pytest.raises(UserError, match=r"^out of memory at a canvas of 128x144 px"):
        predictor.mask_rows(dataset, np.arange(8))
    with pytest.raises(UserError, match="try --batch-size 2"):
        list(predictor.masks(loader, 4))


def test_float_patches_are_predicted_too(predictor):
    patches = random_patches(2)
    np.testing.assert_array_equal(
        predictor.probabilities(list(patches.astype(np.float32))), predictor.probabilities(list(patches))
    )


class Marked(torch.nn.Module):
    """The logit of a pixel is the prompt: above 0 within the mark's quarters."""

    def forward(self, images, decode=None):
        return {"mask": centre_crop(images[:, 3:])}


def test_a_network_sees_the_prepared_marks_or_those_given(phantom_ham):
    model = TrainedModel(Marked(), A1, "none", (128, 128), None, "released", {"prompt": "recist"})
    predictor = Predictor(model, CPU, "fp32")
    dataset, rows = LesionDataset.open(phantom_ham / "prepared"), np.array([5, 2])
    ends = np.array(dataset.array("ends"))
    for given, shown in ((None, ends), (ends[::-1].copy(), ends[::-1])):
        masks = predictor.mask_rows(dataset, rows, given)
        expected = np.stack([quarters_mask(shown[row], (120, 120)) for row in rows])
        assert (masks != expected).mean() < 0.001  # rounding
    probabilities = predictor.probabilities(list(dataset.array("images")[rows]), list(ends[rows]))
    assert ((probabilities > 0.5) != predictor.mask_rows(dataset, rows)).mean() < 0.001


class Uneven(torch.nn.Module):
    """The logit of a pixel rises to the right and with its green channel; that of the one cluster with the green."""

    def forward(self, images, decode=None):
        green = centre_crop(images[:, 1:2])
        return {"mask": torch.arange(120.0) + green, "cluster": green.mean((2, 3)) + green[:, 0, :1, 0]}


def test_test_time_augmentation_is_the_mean_over_the_mirrored_and_transposed_patches():
    """Rising by a px to the right, left, up and down in two views each, the ramp is 59.5 everywhere."""
    model = TrainedModel(Uneven(), A1, "none", (128, 144), None, "released", {})
    patches = torch.from_numpy(random_patches(2))
    green = (patches[..., 1] / 255 - 0.456) / 0.224
    logits = Predictor(model, CPU, "fp32", tta=True).logits(patches)
    torch.testing.assert_close(logits["mask"], 59.5 + green, atol=1e-4, rtol=0)
    corners = green[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(1)
    torch.testing.assert_close(logits["cluster"][:, 0], green.mean((1, 2)) + corners, atol=1e-5, rtol=0)
    torch.testing.assert_close(Predictor(model, CPU, "fp32").logits(patches)["mask"], torch.arange(120.0) + green)


def test_test_time_augmentation_turns_the_marks_with_the_patches(phantom_ham):
    model = TrainedModel(Marked(), A1, "none", (128, 128), None, "released", {"prompt": "recist"})
    dataset, rows = LesionDataset.open(phantom_ham / "prepared"), np.array([5, 2])
    masks, augmented = (Predictor(model, CPU, "fp32", tta=tta).mask_rows(dataset, rows) for tta in (False, True))
    assert masks.any() and (masks != augmented).mean() < 0.001  # rounding


def normalising_network(method, encoder, prompt=False):
    """A network in eval mode whose batch normalisations have something to do."""
    torch.manual_seed(0)
    network = build_network(method, encoder, 4, prompt=prompt).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return network


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0", "timm-skresnet18", "tu-convnext_atto"])
@pytest.mark.parametrize(("method", "prompt"), [(A1CLASS, False), (ACOSEG, False), (A1, True)])
def test_merging_batch_norms_changes_rounding_alone(method, encoder, prompt):
    network = normalising_network(method, encoder, prompt)
    folded = fold_batch_norms(network, 3 + prompt)
    left = sum(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert left == 0 if encoder == "resnet18" else folded is not network
    images = torch.randn(2, 3 + prompt, 128, 144)
    with torch.no_grad():
        for name, value in network(images).items():
            torch.testing.assert_close(folded(images)[name], value, rtol=1e-5, atol=1e-5 * value.abs().max())


def test_a_network_that_computes_its_weights_anew_stays_as_it_is():
    class Scaled(torch.nn.Conv2d):
        def forward(self, images):
            return super().forward(images) / self.weight.norm()

    class Network(torch.nn.Sequential):
        def forward(self, images):
            return {"mask": super().forward(images)}

    network = Network(Scaled(3, 4, 1), torch.nn.BatchNorm2d(4, eps=1.0)).eval()
    assert fold_batch_norms(network, 3) is network
