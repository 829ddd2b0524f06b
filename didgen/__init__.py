"""didgen: class-balanced dermoscopic images and lesion-mask pairs from one diffusion model.

`__init__.pyi` lists the public names: `from didgen import LesionPairPipeline`. Each is loaded when
it is first asked for, so that importing didgen costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
