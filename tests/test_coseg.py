"""ACoseg: attention scales channels, and nothing passes between images."""

import torch

from common.model import CosegNet, _attend


def test_attention_by_hand():
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])  # means 2 and 2
    squeeze, excite = torch.nn.Linear(2, 1), torch.nn.Linear(1, 2)
    with torch.no_grad():
        squeeze.weight.fill_(0.25)
        squeeze.bias.zero_()  # hidden: tanh(1)
        excite.weight.copy_(torch.tensor([[0.0], [1.0]]))
        excite.bias.zero_()
        scaled = _attend(features, squeeze, excite)
    weight = torch.sigmoid(torch.tanh(torch.tensor(1.0)))
    torch.testing.assert_close(scaled, torch.tensor([[[[0.5, 1.5]], [[2 * weight, 2 * weight]]]]))


def test_a_prediction_does_not_depend_on_its_partner():
    network = CosegNet("resnet18").eval()
    images = torch.randn(3, 3, 128, 128)
    with torch.no_grad():
        together, alone = network(images)["mask"][:1], network(images[:1])["mask"]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_parts_are_shared_not_copied():
    network = CosegNet("resnet18")
    state = network.state_dict()
    assert state["deeplab_model.encoder.conv1.weight"].data_ptr() == state["deeplab_encoder.conv1.weight"].data_ptr()
    assert network.encoder is network.deeplab_model.encoder
