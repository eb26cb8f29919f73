"""The spectral autoencoder as a learner: every step shows it pixels that are drawn from the cubes of the batch."""

from collections.abc import Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Tensor

from hyperderm.learners import randomness
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.spectral_autoencoder.coder import AT_ONCE, SpectralCoder
from hyperderm.learners.spectral_autoencoder.config import AutoencoderConfig
from hyperderm.learners.spectral_autoencoder.losses import loss_terms
from hyperderm.learners.spectral_autoencoder.networks import SpectralAutoencoder
from hyperderm.learners.spectral_autoencoder.normalisation import Normalisation
from hyperderm.settings import Run

FIT_PIXELS = 200_000
"""Most pixels to which the normalisation is fitted, drawn by the seed."""


def one_cycle(done: float) -> float:
    """Return the learning rate, as a share of the largest one, after a share `done` of training.

    It rises from 1/25 to 1 in the first 30 % and falls to 4e-6, each as half a cosine (Smith, Topin 2019, with the shares of
    torch's OneCycleLR).
    """
    begin, rise, end = 1 / 25, 0.3, 1 / 25e4
    low, at = (begin, done / rise) if done < rise else (end, (1 - min(done, 1.0)) / (1 - rise))
    return low + (1 - low) * (1 - cos(pi * at)) / 2


class Autoencoder:
    """The autoencoder, its optimizer (Adam), and the normalisation that is fitted to pixels of train."""

    def __init__(self, config: AutoencoderConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.data, self.compute, self.seed = config, data, compute, run.seed
        self.images = run.training.images
        with randomness.initialised(self.seed):
            network = SpectralAutoencoder(len(data.wavelengths_nm), config.zdims, config.resample)
        self.network = network.to(compute.device, compute.dtype)
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.lr)
        learnt = self._fit_pixels()
        self.normalisation = Normalisation.fit(learnt, config.normalisation)
        self.mean = self._normalised(learnt).mean(0, keepdim=True)

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once; return the terms `mse`, `angle` and `gradient`, their weighted sum `loss`, and `gradient_norm`."""
        self.network.train()
        spectra = self._normalised(self._drawn(batch))
        with self.compute.autocast():
            rebuilt = self.network(spectra)
        terms = loss_terms(rebuilt.to(spectra.dtype), spectra, self.normalisation.origin)
        loss = self._loss(terms)
        self._set_rate(batch.images)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = gradient_norm(self.network)
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()} | {"loss": loss.detach(), "gradient_norm": norm}

    @torch.no_grad()
    def validate(self) -> Validation:
        """Score the reconstruction of all validation pixels, or of the held-out ones: every term, and their sum."""
        held, origin = self.data.held_out, self.normalisation.origin
        sums: dict[str, float] = dict.fromkeys(("mse", "angle", "gradient", "held_out_loss", "loss_of_mean_spectrum"), 0.0)
        count = 0
        self.network.eval()
        for row, cube in enumerate(self.data.validation.reflectance):
            pixels = cube.flatten(1).T if held is None else cube[:, held[row]].T
            for part in pixels.split(AT_ONCE):
                spectra = self._normalised(part)
                terms = loss_terms(self.network(spectra), spectra, origin)
                constant = loss_terms(self.mean.expand_as(spectra), spectra, origin)
                found = {**terms, "held_out_loss": self._loss(terms), "loss_of_mean_spectrum": self._loss(constant)}
                for name, value in found.items():
                    sums[name] += float(value) * len(part)
                count += len(part)
        named = {f"held_out_{name}" if name in self.config.weights else name: total / count for name, total in sums.items()}
        return Validation(named)

    def encode(self, spectra: Tensor) -> Tensor:
        """See `SpectralCoder.encode`."""
        return self._coder.encode(spectra)

    def decode(self, latent: Tensor) -> Tensor:
        """See `SpectralCoder.decode`."""
        return self._coder.decode(latent)

    @property
    def _coder(self) -> SpectralCoder:
        return SpectralCoder(self.network, self.normalisation, self.compute.device, self.compute.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return the network, its optimizer and the normalisation."""
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return parts | {"normalisation": self.normalisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.normalisation = Normalisation(**state["normalisation"])

    def _set_rate(self, images: int) -> None:
        """Set the learning rate of the step after `images` images; it depends on nothing else, so a run can be resumed."""
        if self.config.schedule == "cycle":
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * one_cycle(images / self.images)

    def _loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        weights = self.config.weights
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def _normalised(self, spectra: Tensor) -> Tensor:
        return self.normalisation.forward(spectra.float()).to(self.compute.device, self.compute.dtype)

    def _drawn(self, batch: Batch) -> Tensor:
        """Return `pixels` spectra (n · pixels, B) in reflectance of each cube, none that is held out; repeats may occur."""
        draws = randomness.rows(self.seed, "pixels", batch.images, batch.count, (self.config.pixels,), batch.share)
        if self.data.held_out is None:
            cubes = list(self.data.scaling.inverse(batch.real.double().cpu()).flatten(2))
            places = [torch.arange(cubes[0].shape[1])] * len(cubes)
        else:
            held_in_memory = self.data.train.reflectance
            cubes = [held_in_memory[row].flatten(1) for row in batch.rows.tolist()]  # views: a scene may be large
            places = [(~held).flatten().nonzero()[:, 0] for held in self.data.held_out[batch.rows]]
        chosen = (at[(draw * len(at)).long()] for at, draw in zip(places, draws, strict=True))
        return torch.cat([cube[:, at].T for cube, at in zip(cubes, chosen, strict=True)])

    def _fit_pixels(self) -> Tensor:
        """Return pixels (n, B) of train that are learnt from, at most `FIT_PIXELS`."""
        train, held = self.data.train.reflectance, self.data.held_out
        pixels = train.movedim(1, 3)[~held] if held is not None else train.movedim(1, 3).flatten(0, 2)
        chosen = torch.randperm(len(pixels), generator=randomness.generator(self.seed, "fit", 0))[:FIT_PIXELS]
        return pixels[chosen.sort().values]
