"""The heads: which token was here, and was this token replaced? No dropout, as in ELECTRA."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from electra.kernels.vocabulary.twin import LogitsProduct, Prediction, WrittenLogits
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.initial import build_dense, build_glorot
from electra.model.twins import KernelModule


class TokenHead(KernelModule):
    """LayerNorm(GELU(dense(h))) · tableᵀ + bias. The table is the tower's token embeddings, passed at each call.

    ``towers``: how many towers' states are concatenated in h. With a GPU's kernels the logits of predictions are never
    stored.
    """

    def __init__(self, config: EncoderConfig, towers: int = 1):
        super().__init__()
        classic, size = isinstance(config, ClassicConfig), config.embedding_size
        self.dense = build_dense(towers * config.hidden_size, size, head_std(config), bias=classic)
        self.norm = nn.LayerNorm(size, config.norm_eps, bias=classic)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def transform(self, hidden: Float[Tensor, "picked hidden"]) -> Float[Tensor, "picked embedding"]:
        """The vectors that are multiplied with the table."""
        return self.norm(F.gelu(self.dense(hidden)))

    def forward(
        self, hidden: Float[Tensor, "picked hidden"], table: Float[Tensor, "vocab embedding"]
    ) -> Float[Tensor, "picked vocab"]:
        """Logits, float32 also if the factors of the product are bfloat16."""
        return LogitsProduct.apply(*self.factors(hidden, table)) + self.bias

    def factors(self, hidden: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """The two factors of the logits, in the number type of products."""
        dtype = product_dtype(hidden.device)
        return self.transform(hidden).to(dtype), table.to(dtype)

    def predict(self, hidden: Float[Tensor, "picked hidden"], table: Float[Tensor, "vocab embedding"]) -> Prediction:
        """The distribution with these logits."""
        if self.kernels != "cuda":
            return WrittenLogits(self(hidden, table))
        from electra.kernels.vocabulary.triton import FusedLogits

        return FusedLogits(*self.factors(hidden, table), self.bias)


def linear_float32(layer: nn.Linear, x: Float[Tensor, "*shape inputs"]) -> Float[Tensor, "*shape outputs"]:
    """The output of a linear layer in float32, also under autocast: for scores that are ranked. Rounded to bfloat16,
    many of them were equal."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), layer.weight, layer.bias)


def product_dtype(device: torch.device) -> torch.dtype:
    """The number type of products now: autocast's if it is on, else the default dtype, that of the parameters."""
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else torch.get_default_dtype()


class ClassicDetectionHead(nn.Module):
    """dense(GELU(dense(h))): one logit of P(replaced), float32."""

    def __init__(self, config: ClassicConfig):
        super().__init__()
        self.dense = build_dense(config.hidden_size, config.hidden_size, config.init_std)
        self.classifier = build_glorot(config.hidden_size, 1)

    def forward(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
        return linear_float32(self.classifier, F.gelu(self.dense(hidden))).squeeze(-1)


class ModernDetectionHead(nn.Module):
    """dense(LayerNorm(GELU(dense(h)))): logits of original and replaced, float32. Their difference is the result."""

    def __init__(self, config: ModernConfig):
        super().__init__()
        self.dense = build_dense(config.hidden_size, config.hidden_size, head_std(config), bias=False)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=False)
        self.classifier = build_dense(config.hidden_size, 2, config.hidden_size**-0.5)

    def labels(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape 2"]:
        """The logits of original and replaced, in this order."""
        return linear_float32(self.classifier, self.norm(F.gelu(self.dense(hidden))))

    def forward(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
        original, replaced = self.labels(hidden).unbind(-1)
        return replaced - original


DetectionHead = ClassicDetectionHead | ModernDetectionHead
Head = TokenHead | DetectionHead


def build_detection_head(config: EncoderConfig) -> DetectionHead:
    """A fresh detection head of the config's kind."""
    return ClassicDetectionHead(config) if isinstance(config, ClassicConfig) else ModernDetectionHead(config)


def head_std(config: EncoderConfig) -> float:
    """The initial standard deviation of a head's dense layer: the config's, or transformers' choice for ModernBERT."""
    return config.init_std if isinstance(config, ClassicConfig) else config.init_std / (2 * config.layers) ** 0.5
