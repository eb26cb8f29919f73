"""The classifier: one logit of melanoma (1), trained by cross-entropy or focal loss as means of per-sample terms."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.augmentation import classic
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.batch_augmentation import MOST_BANDS, BatchAugmentation
from hyperderm.learners.classifier.config import ClassifierConfig
from hyperderm.learners.classifier.networks import HeadDropout, build_classifier, has_batch_norm
from hyperderm.learners.classifier.trained import TrainedClassifier
from hyperderm.learners.cube_augmentation import SpectralAugmentation
from hyperderm.learners.data import TrainData, truth
from hyperderm.learners.decision_rule import scored
from hyperderm.learners.losses import class_weights, cross_entropy, focal
from hyperderm.learners.sampling import phases
from hyperderm.settings import Run

Augment = Callable[[Any, Sequence[int]], Tensor]
"""A function that takes scaled cubes (n, B, H, W) and n keys, and returns augmented cubes of the same shape, dtype and
device. A function that changes geometry also takes a sequence of n cubes."""


class Classifier:
    """The learner of a classifier: a network and its optimizer (AdamW)."""

    def __init__(self, config: ClassifierConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.data, self.compute, self.seed = config, data, compute, run.seed
        workers = run.sweep.workers_per_trial
        with randomness.initialised(self.seed):
            network = build_classifier(self.config.architecture, self.config.weights, len(data.wavelengths_nm))
        if workers > 1 and has_batch_norm(network):
            if compute.device.type != "cuda":
                raise ConfigError(
                    f"learner.architecture = {self.config.architecture} with {workers} workers on CPUs is refused: its "
                    "batch norm would depend on the number of workers",
                    "Use one worker, GPUs, or learner.architecture=small_cnn.",
                )
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network.to(compute.device, compute.dtype)
        self.dropout = HeadDropout(self.network, self.config.architecture)
        self.parallel = compute.parallel(self.network)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), self.config.lr, weight_decay=self.config.weight_decay)
        self.head_from: int | None = None
        """The number of images from which on only the last layer is trained; None: never."""
        if run.synthetic is not None and run.synthetic.use == "pretrain_head":
            self.head_from = run.training.pretrain_images
        self.truth = truth(data.drawn_diagnoses)  # (rows,)
        self.weights = self._class_weights(run)
        self.augmentations = augmentations(config, run.data.size, data)

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once and return the metrics `loss`, `accuracy` (at probability .5), `positive_share` and `gradient`."""
        head_alone = self.head_from is not None and batch.images >= self.head_from
        self.network.train(not head_alone)  # features stay as they are, means of batch norm too
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._loss)
        if head_alone:
            head = set(self.dropout.head.parameters())
            for weights in self.network.parameters():
                if weights not in head:
                    weights.grad = None  # the optimizer leaves out weights without a gradient, their decay too
        metrics["gradient"] = gradient_norm(self.network)
        self.optimizer.step()
        return metrics

    def _loss(self, batch: Batch) -> Computed:
        x = self._seen(batch)
        y = self.truth[batch.rows].to(self.compute.device)
        with self._dropped(batch), self.compute.autocast():
            logits = self.parallel(x.to(self.compute.dtype))
        logits = logits.to(self.compute.dtype)
        weights = self.weights.to(logits)[y]
        labels = y.to(logits)
        if self.config.loss == "focal":
            terms = focal(logits, labels, weights, self.config.focal_gamma)
        else:
            terms = cross_entropy(logits, labels, weights)
        loss = terms.mean()
        right = ((logits > 0) == (y == 1)).to(logits).mean()
        return loss, {"loss": loss, "accuracy": right, "positive_share": labels.mean()}

    def validate(self) -> Validation:
        """Score the classifier on validation: see `decision_rule.scored`."""
        return scored(self, self.data.validation)

    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64 on the CPU; the masks are ignored."""
        return TrainedClassifier(self.network, self.data.scaling, self.compute).logits_of(reflectance, masks)

    def state_dict(self) -> dict[str, Any]:
        """Return the network and its optimizer."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _seen(self, batch: Batch) -> Tensor:
        """Return the cubes (n, B, H, W) that the network is shown: the real cubes of the batch, augmented."""
        if not self.augmentations:
            return batch.real
        keys = self._keys(batch)
        x = self.augmentations[0](batch.views() if self.config.moves else batch.real, keys)
        for augment in self.augmentations[1:]:
            x = augment(x, keys)
        return x

    def _dropped(self, batch: Batch) -> AbstractContextManager[None]:
        """Return a context that drops features; the mask of a cube depends on its place in the global batch."""
        p = self.config.dropout
        if not p:
            return nullcontext()
        draws = randomness.rows(self.seed, "dropout", batch.images, batch.count, (self.dropout.features,), batch.share)
        return self.dropout.masked(((draws >= p).double() / (1 - p)).to(self.compute.device))

    def _keys(self, batch: Batch) -> list[int]:
        """Return one key for each sample, made from (seed, images, place in the global batch)."""
        key = randomness.generator(self.seed, "augmentation", batch.images)
        return torch.randint(2**31, (batch.count,), generator=key)[batch.share].tolist()

    def _class_weights(self, run: Run) -> Tensor:
        """Return the weights (2,) of negatives and melanomas, from the images that epochs of the last phase show."""
        if self.config.class_weights == "none":
            return torch.ones(2)
        shown = phases(self.config, run, self.data)[-1]
        if not shown.share:
            return torch.tensor(class_weights(self.truth[shown.entries]))
        share = shown.share * self.truth[shown.mixed].double().mean()
        share += (1 - shown.share) * self.truth[shown.entries].double().mean()
        return torch.stack([0.5 / (1 - share), 0.5 / share])


def augmentations(config: ClassifierConfig, size: int, data: TrainData) -> list[Augment]:
    """Return the augmentations of training batches, in order.

    Geometry comes first: after the spectral augmentation, its interpolation would smooth the sensor noise.

    Raises:
        ConfigError: the cubes have more bands than albumentations can move.
    """
    found = list[Augment]()
    if config.moves:
        if config.geometry == "albumentations" and len(data.wavelengths_nm) > MOST_BANDS:
            raise ConfigError(
                f"learner.geometry = albumentations moves {MOST_BANDS} bands at most, not {len(data.wavelengths_nm)}",
                "Use --set learner.geometry=batch, or ingest fewer --bands.",
            )
        found.append((BatchAugmentation if config.geometry == "batch" else classic)(size))
    if config.augmentation.endswith("spectral"):
        found.append(SpectralAugmentation(config.spectral_augmentation, data.wavelengths_nm, data.scaling))
    return found
