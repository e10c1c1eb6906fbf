"""The form of every part that can be replaced: plain callables and modules with these signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from decomprec.decomposition import Decomposition, Slots


class Encoder(Protocol):
    """An encoder that the segmenter and the classifier can be built on, such as `SmallEncoder`; an `nn.Module`."""

    @property
    def out_channels(self) -> Sequence[int]:
        """Channels of each feature map, from fine to coarse."""
        ...

    @property
    def strides(self) -> Sequence[int]:
        """Stride of each feature map, the first 2; height and width of the images are multiples of the largest."""
        ...

    def __call__(self, images: Tensor, /) -> Sequence[Tensor]:
        """Return features of images (B, 3, H, W) in [0, 1], from fine to coarse, each at its stride."""
        ...


class Decoder(Protocol):
    """Turns an encoder's features into masks or image-lets, like `UnetDecoder`; an `nn.Module`.

    It computes all channels. Only the decoders of this library save those of slots that a segmenter isn't asked for.
    """

    def __call__(self, features: Sequence[Tensor], /) -> Tensor:
        """Return (B, C, H, W) before softmax or sigmoid: C is K for the masks and 3K for the image-lets."""
        ...


class Guide(Protocol):
    """A classifier that judges images, such as a `FrozenGuide`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return logits (N, K-1), one per class without the background, of images (N, 3, H, W) in [0, 1]."""
        ...


class View(Protocol):
    """Makes the images that the guide sees: one per slot.

    A view that looks at `masks`, `imagelets` and `components` only can be asked for some slots of a decomposition.
    """

    def __call__(self, out: Decomposition | Slots, images: Tensor, /) -> Tensor:
        """Return images in [0, 1] for a decomposition of `images` (B, 3, H, W): (B, K, 3, H, W), or S for K."""
        ...


class Fill(Protocol):
    """Fills the space outside the masks in a `FilledView`, like `mean_fill`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return images in [0, 1] of the images' shape (B, 3, H, W) and dtype."""
        ...


class ReconTerm(Protocol):
    """A replacement for `ReconLoss`."""

    def __call__(self, reconstruction: Tensor, images: Tensor, /) -> Tensor:
        """Return a scalar, small where the reconstruction (B, 3, H, W) is like the images (B, 3, H, W)."""
        ...


class MaskTerm(Protocol):
    """A replacement for `MaskLoss`: an area prior, like `HingeAreaLoss`."""

    def __call__(self, areas: Tensor, targets: Tensor, /) -> Tensor:
        """Return a scalar, small where areas (B, K) fit the tags (B, K-1) or, if it takes them, known areas (B, K)."""
        ...


class ExtraLoss(Protocol):
    """A further term, such as `EdgeAwareSmoothness`, or a replacement for `ClsLoss`."""

    def __call__(self, out: Decomposition, images: Tensor, tags: Tensor, /) -> Tensor:
        """Return a scalar for a decomposition of `images` (B, 3, H, W) with `tags` (B, K-1)."""
        ...


class Refinement(Protocol):
    """Fits masks to their images, such as `guided_filter` and `pamr`."""

    def __call__(self, images: Tensor, masks: Tensor, /) -> Tensor:
        """Return masks (B, K, H, W), summing to one over K, of images (B, 3, H, W) in [0, 1] and such masks."""
        ...


class Predictor(Protocol):
    """Anything that turns images into label maps, such as `DecompositionSegmenter.predict`."""

    def __call__(self, images: Tensor, tags: Tensor | None = None, /) -> Tensor:
        """Return label maps (B, H, W) of `images` (B, 3, H, W), with the help of `tags` (B, K-1) if given."""
        ...


class Localiser(Protocol):
    """A classifier that also says where it sees its classes, such as `PooledClassifier`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Logits (B, K-1) of images (B, 3, H, W)."""
        ...

    def activation_maps(self, images: Tensor, /) -> Tensor:
        """Class activation maps (B, K-1, h, w), of any resolution."""
        ...


class TaggedDataset(Protocol):
    """A data set to train or evaluate on, like `TaggedImages`."""

    @property
    def class_names(self) -> Sequence[str]:
        """The K-1 foreground classes; tag `j` is class ``j + 1`` in label maps."""
        ...

    @property
    def tags(self) -> Tensor:
        """(N, K-1), float32, {0, 1}: the tags of all images."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image``, ``tags``, ``name`` and, for evaluation, ``mask``."""
        ...


class LoadData(Protocol):
    """Gives the images of a split, such as a `TaggedFolder`."""

    def __call__(self, split: str, *, transform: Callable[..., Any] | None, masks: bool) -> Any:
        """Return the data set of a split, "train" or "val"."""
        ...
