"""Image bytes to pixels and back: the one path that training, evaluation and serving all take.

Letters: H, W height and width in pixels.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.errors import InputTooLarge, InvalidOption, UndecodableImage, UnsupportedMediaType

Image.MAX_IMAGE_PIXELS = None  # each caller has a limit of its own, below or above Pillow's

FORMATS = ("JPEG", "PNG", "WEBP")
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
MAX_PIXELS = 40_000_000  # a 36-megapixel photograph fits; 160 MB once decoded to RGBA
DRAFT_MARGIN = 2  # a JPEG is decoded at no less than twice the size asked for, so that the resize still averages

DAMAGED = "the file is truncated or damaged"

_JPEG = ("JPEG", "MPO")  # MPO: a telephone's JPEG with a gain map or a preview behind it; the first picture is the photograph
_SIGNATURES = (  # where in the file, what is there, and whose it is
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
)
_OWN_SIGNATURES = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (8, b"WEBP"))
_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "image/jpeg": ("JPEG", {"quality": 92, "subsampling": 0}),
    "image/png": ("PNG", {"compress_level": 1}),  # half the time of Pillow's 6, for an eighth more bytes of a photograph
    "image/webp": ("WEBP", {"quality": 92, "method": 2}),  # a quarter of the time of Pillow's 4, for as many bytes
}
_TURNS = {  # by EXIF's Orientation: what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class ImageProcessor(BaseModel):
    """How a model sees a picture: stored in its manifest, and doing the work itself.

    `squash` resizes to (height, width) whatever the aspect ratio; `shortest-edge-crop` resizes until both
    sides cover (height, width), then cuts the centre. Normalisation is inside the graph, so pixels stay uint8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["image"] = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: Literal["squash", "shortest-edge-crop"] = "squash"
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    min_side_px: int = Field(default=16, gt=0)

    def preprocess(self, data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        """Encoded JPEG, PNG or WebP to pixels (3, H, W), RGB. Raises as `decode` does."""
        return self.to_pixels(self.decode(data, max_pixels))

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The first half of `preprocess`. Raises as the function of this name, and UndecodableImage for a side that is too short."""
        image = decode(data, draft_side_px=max(self.height, self.width), max_pixels=max_pixels)
        if min(image.size) < self.min_side_px:
            width, height = image.size
            raise UndecodableImage(f"it is {width} x {height} px; each side needs at least {self.min_side_px}")
        return image

    def to_pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """A decoded RGB picture of any size to (3, H, W)."""
        size = (self.width, self.height)
        resample = _RESAMPLE[self.resample]
        image = image.resize(size, resample) if self.resize == "squash" else ImageOps.fit(image, size, resample)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)


class PhotographProcessor(BaseModel):
    """How a model that answers with a picture sees one: in its own shape, and not larger than `max_side_px`.

    A larger picture is shrunk until its longer side fits; none is enlarged. Normalisation, and padding to the multiple
    that a network wants, are inside the graph, so pixels stay uint8 and the answer has the input's height and width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["photograph"] = "photograph"
    max_side_px: int = Field(default=1024, gt=0)
    min_side_px: int = Field(default=16, gt=0)

    @model_validator(mode="after")
    def _sides_agree(self) -> Self:
        if self.min_side_px > self.max_side_px:
            raise ValueError("min_side_px must not be more than max_side_px")
        return self

    def preprocess(self, data: bytes, max_pixels: int = MAX_PIXELS, max_side_px: int | None = None) -> NDArray[np.uint8]:
        """Encoded JPEG, PNG or WebP to pixels (3, H, W), RGB; a `max_side_px` below the model's own shrinks further.

        Raises as `decode` does, and UndecodableImage for a picture with a side that is, or would be, too short.
        """
        return self.to_pixels(self.decode(data, max_pixels, max_side_px), max_side_px)

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS, max_side_px: int | None = None) -> Image.Image:
        """The first half of `preprocess`. Raises as the function of this name does."""
        return decode(data, draft_side_px=self._side(max_side_px), max_pixels=max_pixels)

    def to_pixels(self, image: Image.Image, max_side_px: int | None = None) -> NDArray[np.uint8]:
        """A decoded RGB picture of any size to (3, H, W). Raises UndecodableImage, or InvalidOption if only `max_side_px` is at fault."""
        limit = self._side(max_side_px)
        scale, (width, height) = _shrunk(image, limit)
        if min(width, height) < self.min_side_px:
            if min(_shrunk(image, self.max_side_px)[1]) >= self.min_side_px:
                problem = f"too small for this picture: it would be {width} x {height} px; each side needs at least {self.min_side_px}"
                raise InvalidOption(f"max_side_px is {problem}", param="max_side_px")
            shrunk = f", {width} x {height} once its longer side is {limit}" if scale < 1 else ""
            raise UndecodableImage(f"it is {image.width} x {image.height} px{shrunk}; each side needs at least {self.min_side_px}")
        if scale < 1:
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)

    def _side(self, asked: int | None) -> int:
        return self.max_side_px if asked is None else min(asked, self.max_side_px)


def _shrunk(image: Image.Image, longer_side_px: int) -> tuple[float, tuple[int, int]]:
    """The scale, at most 1, at which the longer side fits, and the size at it."""
    scale = min(1.0, longer_side_px / max(image.size))
    return scale, (max(1, round(image.width * scale)), max(1, round(image.height * scale)))


def decode(data: bytes, *, draft_side_px: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One still picture as 8-bit sRGB, turned upright by its EXIF orientation; EXIF that is broken is ignored as browsers do.

    16-bit grey is scaled to 8 bits, CMYK and palettes are converted, colours go by the picture's ICC profile (one that is
    broken, or of another kind of colour, is ignored too), transparency is laid over white. Of 16-bit RGB Pillow keeps
    the upper bytes: a colour that shares them with the one that is called transparent is transparent too.
    Raises UndecodableImage, UnsupportedMediaType (another format, or animated), InputTooLarge (pixels).
    """
    image = _open(data, max_pixels)
    if draft_side_px is not None and image.format in _JPEG:
        image.draft(None, (draft_side_px * DRAFT_MARGIN, draft_side_px * DRAFT_MARGIN))
    try:
        if image.format == "PNG":
            _check_pixels(data)
        image.load()
        return _to_rgb(_upright(image))
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ... on broken bytes
        raise UndecodableImage(DAMAGED) from None


def _check_pixels(png: bytes) -> None:
    """Raises ValueError where the chunks of pixels do not fit their checksums, which Pillow does not look at."""
    at = 8  # behind the signature
    while at + 8 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])  # length, kind, content, checksum of the two before
        if png[at + 4 : at + 8] == b"IDAT" and zlib.crc32(memoryview(png)[at + 4 : end]) != int.from_bytes(png[end : end + 4]):
            raise ValueError
        at = end + 4


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header only: the format and the size are known before a pixel is decoded."""
    if not data:
        raise UndecodableImage("it is empty")
    _refuse_other_formats(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:
        begins_well = any(data.startswith(signature, at) for at, signature in _OWN_SIGNATURES)
        raise UndecodableImage(DAMAGED if begins_well else "these bytes are not a JPEG, PNG or WebP picture") from None
    width, height = image.size
    if width * height > max_pixels:
        raise InputTooLarge(f"the image is {width} x {height} px; the limit is {max_pixels:,} pixels", param="image")
    if image.format not in _JPEG and getattr(image, "n_frames", 1) > 1:
        raise UnsupportedMediaType("animated images are not accepted; send one frame", param="image")
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _as_decoded(image.info["transparency"], image.mode, depth=data[24])
    return image


def _as_decoded(transparent: Any, mode: str, depth: int) -> Any:
    """A PNG's transparent shade or colour as the pixels will have it: Pillow scales those to 8 bits, and leaves it as it is in the file."""
    if mode == "L" and depth in (2, 4):
        return transparent * 255 // (2**depth - 1)
    if mode == "RGB" and depth == 16:
        return tuple(value >> 8 for value in transparent)
    return transparent


def _refuse_other_formats(data: bytes) -> None:
    for at, signature, name in _SIGNATURES:
        if data.startswith(signature, at):
            raise UnsupportedMediaType(f"{name} is not accepted; send JPEG, PNG or WebP", param="image")


def _upright(image: Image.Image) -> Image.Image:
    """Not by ImageOps.exif_transpose, which writes all of the EXIF anew and fails where a tag that nobody asked for is odd."""
    try:
        orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
        turn = _TURNS.get(orientation)
    except Exception:  # as for broken bytes below: SyntaxError, ValueError, struct.error ...
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: convert() would clip, not scale
        image = _to_8_bits(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # a palette's alpha would be lost on the way to RGB, with a warning
    colours = _to_srgb(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = colours.convert("RGBA")
        layer.putalpha(image.convert("RGBA").getchannel("A"))
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return colours


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Of 16-bit grey, with the shade that it calls transparent as alpha: scaled, two shades may become one."""
    shades = np.asarray(image)
    eight_bit = Image.fromarray(np.clip(np.rint(shades.astype(np.float32) / 257), 0, 255).astype(np.uint8))  # 65535 / 257 = 255
    if "transparency" in image.info:
        eight_bit.putalpha(Image.fromarray(np.where(shades == image.info["transparency"], 0, 255).astype(np.uint8)))
    eight_bit.info = {"icc_profile": image.info.get("icc_profile")}
    return eight_bit


def _to_srgb(image: Image.Image) -> Image.Image:
    """The colours without their transparency. A profile speaks of grey, RGB or CMYK: what the file holds, before conversion."""
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def to_image(reconstruction: NDArray[Any]) -> Image.Image:
    """What a graph drew, (3, H, W) in [0, 1], as 8-bit RGB."""
    pixels = np.rint(np.clip(reconstruction, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))  # (3, H, W) -> (H, W, 3)


def encode(image: Image.Image, media_type: str) -> bytes:
    """A picture as one of MEDIA_TYPES: PNG keeps every pixel, JPEG and WebP are near enough that no one sees the difference."""
    image_format, options = _ENCODERS[media_type]
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def dihedral_views(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight rotations and reflections of a square picture (3, S, S), the original first; of another shape (3, H, W)
    the four that keep it. For test-time augmentation: a lesion has no upright."""
    reflections = [pixels, pixels[:, :, ::-1], pixels[:, ::-1, :], pixels[:, ::-1, ::-1]]
    if pixels.shape[1] == pixels.shape[2]:
        reflections += [view.transpose(0, 2, 1) for view in reflections]
    return [np.ascontiguousarray(view) for view in reflections]
