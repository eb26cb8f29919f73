import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from hyperderm.errors import ConfigError
from hyperderm.learners.losses import class_weights, cross_entropy, focal

LOGITS = torch.linspace(-8, 8, 41, dtype=torch.float64)


def cases(n=200, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, generator=g) < 0.3).float()
    return torch.randn(n, generator=g) * 3, labels, torch.rand(n, generator=g) + 0.2


def test_cross_entropy_is_torch_s_for_every_sample():
    logits, labels, weights = cases()
    expected = binary_cross_entropy_with_logits(logits, labels, weights, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, labels, weights), expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_focal_is_torchvision_s(gamma, alpha):
    logits, labels, _ = cases()
    weights = torch.where(labels == 1, alpha, 1 - alpha)
    expected = sigmoid_focal_loss(logits.double(), labels.double(), alpha, gamma)
    torch.testing.assert_close(focal(logits.double(), labels, weights, gamma), expected, check_dtype=False)


def test_focal_without_gamma_is_cross_entropy():
    logits, labels, weights = cases()
    torch.testing.assert_close(focal(logits, labels, weights, 0.0), cross_entropy(logits, labels, weights))


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool])
def test_melanoma_is_one_whatever_the_type_of_the_labels(kind):
    labels = torch.tensor([1, 0]).to(kind)
    sure = torch.tensor([6.0, 6.0])
    for loss in (cross_entropy, focal):
        right, wrong = loss(sure, labels, torch.ones(2))
        assert right < 0.01 < 5 < wrong


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_closed_forms_and_finite_gradients_up_to_fifty(label):
    """For a wrong logit of u: CE → u, focal → u; for a right one: CE → e^−u, focal → e^−3u."""
    u = torch.tensor([20.0, 50.0, 80.0], requires_grad=True)
    towards = 2 * label - 1
    y, one = torch.full((3,), label), torch.ones(3)
    wrong = -towards * u
    right = towards * u
    torch.testing.assert_close(cross_entropy(wrong, y, one), u)
    torch.testing.assert_close(focal(wrong, y, one), u)
    torch.testing.assert_close(cross_entropy(right, y, one), torch.exp(-u), rtol=1e-4, atol=0)
    torch.testing.assert_close(focal(right[:1], y[:1], one[:1]), torch.exp(-3 * u[:1]), rtol=1e-4, atol=0)
    for loss in (cross_entropy, focal):
        for logits in (wrong, right):
            (gradient,) = torch.autograd.grad(loss(logits, y, one).sum(), u, retain_graph=True)
            assert torch.isfinite(gradient).all()
    (gradient,) = torch.autograd.grad(focal(wrong, y, one).sum(), u)
    torch.testing.assert_close(gradient, torch.ones(3))  # a wrong case still pulls


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_gradient_of_focal_is_its_derivative(gamma):
    logits = LOGITS.clone().requires_grad_()
    labels = (torch.arange(41) % 2).double()
    assert torch.autograd.gradcheck(lambda z: focal(z, labels, torch.ones(41).double(), gamma), logits)


def test_weights_are_scikit_learn_s_balanced():
    labels = torch.tensor([1] * 7 + [0] * 33)
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels.numpy())
    np.testing.assert_allclose(class_weights(labels), expected)
    assert class_weights(labels)[1] > class_weights(labels)[0]


def test_weights_average_to_one():
    _, labels, _ = cases()
    per_sample = torch.tensor(class_weights(labels))[labels.long()]
    assert float(per_sample.double().mean()) == pytest.approx(1)


@pytest.mark.parametrize(("labels", "missing"), [([0, 0], "melanoma"), ([1, 1, 1], "negative")])
def test_a_class_without_a_case_is_refused(labels, missing):
    with pytest.raises(ConfigError, match=f"{len(labels)} train cases of which none is a {missing}") as caught:
        class_weights(torch.tensor(labels))
    assert "fold" in caught.value.remedy
