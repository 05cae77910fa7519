"""The objectives by name: each a frozen description that builds one composition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from electra.model.config import EncoderConfig, generator_config
from electra.model.embeddings import Own, Shared, build_embeddings
from electra.model.encoder import Tower
from electra.objectives.corrupt import Generate, Mask
from electra.objectives.pretrainer import Pretrainer
from electra.objectives.terms import Detection, Recovery


@dataclass(frozen=True)
class Electra:
    """Replaced token detection: a small generator fills masked positions, the encoder tells which were replaced."""

    kind: Literal["electra"] = "electra"
    generator_width: float = 0.25  # table 6; 1/3 for Base. A fraction of the encoder's hidden size
    generator_depth: float = 1.0  # a fraction of the encoder's layers
    mask_rate: float = 0.15  # 0.25 for Large
    replace_rate: float = 0.85  # of the chosen; the others stay as they are in the generator's input
    temperature: float = 1.0
    generator_weight: float = 1.0
    detection_weight: float = 50.0
    detection_on: Literal["all", "chosen"] = "all"
    embeddings: Literal["shared", "own"] = "shared"

    def build(self, encoder: EncoderConfig, mask_id: int, seed: int) -> Pretrainer:
        """A pre-trainer with fresh weights."""
        small = generator_config(encoder, self.generator_width, self.generator_depth)
        sharing = (Shared if self.embeddings == "shared" else Own)(encoder, small)
        towers = {
            "generator": Tower.token(small, sharing.generator),
            "discriminator": Tower.detection(encoder, sharing.discriminator),
        }
        return self.compose(towers, mask_id, seed)

    def compose(self, towers: Mapping[str, Tower], mask_id: int, seed: int) -> Pretrainer:
        """``Generate`` over ``Mask`` by the generator, then the discriminator with ``Detection``."""
        mask = Mask(mask_id, self.mask_rate, self.replace_rate)
        corrupt = Generate(mask, towers["generator"], Recovery(self.generator_weight), self.temperature)
        terms = {"discriminator": Detection(self.detection_weight, self.detection_on)}
        return Pretrainer(corrupt, towers["discriminator"], terms, seed)


@dataclass(frozen=True)
class Mlm:
    """Masked language modelling (BERT): the encoder itself recovers the tokens at masked positions."""

    kind: Literal["mlm"] = "mlm"
    mask_rate: float = 0.15
    replace_rate: float = 0.85  # as in the original code's MLM: the rest stays, none becomes a random token

    def build(self, encoder: EncoderConfig, mask_id: int, seed: int) -> Pretrainer:
        """A pre-trainer with fresh weights."""
        return self.compose({"generator": Tower.token(encoder, build_embeddings(encoder))}, mask_id, seed)

    def compose(self, towers: Mapping[str, Tower], mask_id: int, seed: int) -> Pretrainer:
        """``Mask``, then the encoder with ``Recovery``."""
        mask = Mask(mask_id, self.mask_rate, self.replace_rate)
        return Pretrainer(mask, towers["generator"], {"generator": Recovery()}, seed)


Objective = Electra | Mlm
