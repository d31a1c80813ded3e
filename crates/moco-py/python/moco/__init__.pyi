from os import PathLike
from typing import Any, Optional, Sequence, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Path = Union[str, PathLike[str]]
__version__: str

class MocoError(ValueError):
    """What a person can mend, in one sentence."""

class Encoder:
    """An image encoder that is no longer trained."""

    @property
    def view(self) -> str:
        """What is done to an image before it is encoded."""
    @property
    def dim(self) -> int:
        """Width of a feature."""
    @property
    def notes(self) -> list[str]:
        """What there is to say of how the weights were read."""
    def embed(
        self,
        images: Union[_Path, Sequence[_Path], NDArray[np.uint8]],
        feature: str = "backbone",
    ) -> NDArray[np.float32]:
        """Features, [N, F], of a data set by its path, of image files, or of pixels [N, H, W, 3].

        `feature` is "backbone", "head", "last-blocks" or "class-and-patches". Ctrl-C ends it; other
        threads go on meanwhile. Raises MocoError if an image cannot be read.
        """
    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """The backbone's weights under torchvision's names (ResNets) or timm's (transformers).

        The arrays are new; `torch.from_numpy` takes each without a copy.
        """

def load_encoder(
    source: _Path,
    *,
    layout: Optional[str] = None,
    network: Optional[str] = None,
    heads: Optional[int] = None,
    stem_padding: Optional[int] = None,
    view: Optional[str] = None,
    device: str = "cpu",
) -> Encoder:
    """The encoder of a run's folder, or weights of another program.

    `source` is the folder of a run, a file or folder of weights, `https://...`, or
    `hf://ORG/NAME[@REVISION][/FILE]`. Where a file leaves it open, say `layout`, `network` (which of
    several), `heads` or `stem_padding`. `view` takes the place of the source's own. No pickle is run.
    Raises MocoError if it cannot be read or is not understood.
    """

def pretrain(
    data: _Path,
    out: _Path,
    *,
    method: Optional[str] = None,
    recipe: Optional[str] = None,
    backbone: Optional[str] = None,
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
    seed: Optional[int] = None,
    init: Optional[_Path] = None,
    settings: Optional[dict[str, Any]] = None,
    device: str = "cpu",
    threads: Optional[int] = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains an encoder and returns steps, whether it was stopped, and the last kNN accuracy.

    What is not named is derived from the images; `settings` names any others, such as
    {"optim.lr": 0.03}. Ctrl-C saves the run, after which KeyboardInterrupt is raised; a run in `out`
    goes on. Raises MocoError for what cannot be trained.
    """

def doctor(path: _Path, *, threads: Optional[int] = None) -> dict[str, Any]:
    """What is in a data set, and what is wrong with it."""

def knn(
    train: ArrayLike,
    train_labels: ArrayLike,
    test: ArrayLike,
    test_labels: ArrayLike,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Share of test rows that their weighted nearest training rows classify rightly, 0..=1."""
