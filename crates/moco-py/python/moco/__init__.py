"""Self-supervised image encoders: pretrain on a folder of images, embed, take the weights to torch.

>>> import moco
>>> run = moco.pretrain(data="photos/", out="runs/first")
>>> encoder = moco.load_encoder("runs/first")
>>> features = encoder.embed("photos/")        # numpy, [N, F]
"""

from ._native import Encoder, MocoError, __version__, doctor, knn, load_encoder, pretrain

__all__ = ["Encoder", "MocoError", "__version__", "doctor", "knn", "load_encoder", "pretrain"]
