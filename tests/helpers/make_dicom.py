"""Small DICOM series, written by pydicom. All that is about a patient has a mark in it."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from atrous.io.geometry import Geometry

CT, ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
ROOT = "1.2.826.0.1.3680043.987654321"
"""What all UIDs begin with; they are a patient's too."""
PERSONAL = ("MARKER", "19010203", "987654321")
"""What no sentence, note or name may hold."""
TEXTS = (
    "PatientName", "PatientID", "PatientComments", "PatientAddress", "OtherPatientNames", "StudyDescription",
    "SeriesDescription", "ProtocolName", "ImageComments", "InstitutionName", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "StationName", "OperatorsName", "RequestedProcedureDescription",
)  # fmt: skip
UPRIGHT = Geometry((2.0, 0.7, 0.8), (-10.0, -20.0, 30.0))


def number(value: float) -> str:
    """A number as a DS has it."""
    return f"{value:.10f}"[:16]


def header(kind: str = CT, series: int = 1, modality: str = "CT") -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for tag in TEXTS:
        setattr(made, tag, f"MARKER{tag}"[:16])
    made.PatientBirthDate = made.StudyDate = made.SeriesDate = "19010203"
    made.PatientSex, made.StudyTime = "O", "101010"
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kind
    made.StudyInstanceUID, made.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.2"
    made.SeriesInstanceUID, made.Modality, made.SeriesNumber = f"{ROOT}.3.{series}", modality, series
    made.Manufacturer, made.PositionReferenceIndicator = "MARKERmaker", ""
    return made


def put_pixels(made: Any, stored: np.ndarray, bits: int = 16) -> None:
    """stored: (H, W) or (frames, H, W) whole numbers; bits of them that are used."""
    made.Rows, made.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        made.NumberOfFrames = len(stored)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = 8 * stored.itemsize
    made.BitsStored, made.HighBit = min(bits, made.BitsAllocated), min(bits, made.BitsAllocated) - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    mask = (1 << made.BitsStored) - 1
    data = (stored.astype(np.int64) & mask).astype(f"<u{stored.itemsize}").tobytes()
    made.PixelData = data + bytes(len(data) % 2)
    made["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"


def save(made: Any, path: Path) -> Path:
    import pydicom

    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path


def slices(array: np.ndarray, grid: Geometry = UPRIGHT, *, series: int = 1, bits: int = 16) -> list[Any]:
    """A data set for each slice of stored numbers (D, H, W)."""
    ways, found = np.array(grid.direction), []
    for at, stored in enumerate(array):
        made = header(series=series)
        made.SOPInstanceUID = f"{ROOT}.4.{series}.{at + 1}"
        made.InstanceNumber = (at * 7) % len(array) + 1  # says nothing of the order
        made.ImagePositionPatient = [number(value) for value in grid.place((at, 0, 0))]
        made.ImageOrientationPatient = [number(value) for value in (*ways[:, 2], *ways[:, 1])]
        made.PixelSpacing = [number(grid.spacing[1]), number(grid.spacing[2])]
        made.SliceThickness, made.ImageType = number(grid.spacing[0]), ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.RescaleSlope, made.RescaleIntercept = "1", "0"
        put_pixels(made, stored, bits)
        found.append(made)
    return found


def shuffled(count: int) -> list[str]:
    return [f"{name:05d}" for name in np.random.default_rng(count).permutation(count)]


def write_slices(
    folder: Path,
    array: np.ndarray,
    grid: Geometry = UPRIGHT,
    change: Callable[[int, Any], object] | None = None,
    *,
    series: int = 1,
    bits: int = 16,
) -> list[Path]:
    """Write a series of stored numbers (D, H, W) under names without order; `change` gets each data set before."""
    paths, names = [], shuffled(len(array))
    for at, made in enumerate(slices(array, grid, series=series, bits=bits)):
        if change:
            change(at, made)
        paths.append(save(made, folder / f"{series}-{names[at]}"))
    return paths


def enhanced(
    array: np.ndarray, grid: Geometry = UPRIGHT, order: list[int] | None = None, kind: str = ENHANCED_CT
) -> Any:
    """One data set of several frames with functional groups; `order` of the slices in it."""
    from pydicom.dataset import Dataset

    def group(**tags: Any) -> list[Any]:
        made = Dataset()
        for tag, value in tags.items():
            setattr(made, tag, value)
        return [made]

    order = order or list(range(len(array)))
    ways, made = np.array(grid.direction), header(kind)
    made.SOPInstanceUID, made.InstanceNumber, made.ImageType = f"{ROOT}.5", 1, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PixelMeasuresSequence = group(
        PixelSpacing=[number(grid.spacing[1]), number(grid.spacing[2])], SliceThickness=number(grid.spacing[0])
    )
    way = [number(value) for value in (*ways[:, 2], *ways[:, 1])]
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=way)
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for at in order:
        frame = Dataset()
        place = [number(value) for value in grid.place((at, 0, 0))]
        frame.PlanePositionSequence = group(ImagePositionPatient=place)
        frame.FrameContentSequence = group(StackID="1", InStackPositionNumber=at + 1)
        frame.PixelValueTransformationSequence = group(
            RescaleSlope="2", RescaleIntercept=str(-100 * at), RescaleType="HU"
        )
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    put_pixels(made, array[order])
    return made


Contour = tuple[int, list[tuple[float, float]]]
"""A slice, and corners (row, column) in voxels."""


def outlines(regions: dict[str, list[Contour]], grid: Geometry, kind: str = "CLOSED_PLANAR") -> Any:
    from pydicom.dataset import Dataset

    made = header("1.2.840.10008.5.1.4.1.1.481.3", modality="RTSTRUCT")
    made.SOPInstanceUID, made.StructureSetLabel = f"{ROOT}.8", "MARKERlabel"
    del made.FrameOfReferenceUID
    frame = Dataset()
    frame.FrameOfReferenceUID = f"{ROOT}.2"
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), 1):
        described, drawn = Dataset(), Dataset()
        described.ROINumber, described.ROIName = number, name
        described.ROIDescription, described.ReferencedFrameOfReferenceUID = "MARKERregion", f"{ROOT}.2"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for at, corners in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(corners)
            places = [grid.place((at, *corner)) for corner in corners]
            contour.ContourData = [f"{value:.8f}"[:16] for place in places for value in place]
            drawn.ContourSequence.append(contour)
        made.StructureSetROISequence.append(described)
        if contours:
            made.ROIContourSequence.append(drawn)
    return made


def as_rle(made: Any) -> None:
    from pydicom import uid

    made.compress(uid.RLELossless, generate_instance_uid=False)


def as_jpeg_ls(made: Any) -> None:
    from pydicom import uid

    made.compress(uid.JPEGLSLossless, generate_instance_uid=False)


def packed(made: Any, data: bytes, syntax: str) -> None:
    import pydicom

    made.PixelData = pydicom.encaps.encapsulate([data])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = syntax


def as_jpeg_2000(made: Any) -> None:
    import pydicom

    stream = BytesIO()
    Image.fromarray(made.pixel_array.astype(np.uint16)).save(stream, "JPEG2000", num_resolutions=1, no_jp2=True)
    packed(made, stream.getvalue(), pydicom.uid.JPEG2000Lossless)


def as_lossless_jpeg(made: Any) -> None:
    """As the GDCM in SimpleITK packs it."""
    import pydicom
    import SimpleITK as simple

    with TemporaryDirectory() as folder:
        writer = simple.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(f"{folder}/a.dcm")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(simple.GetImageFromArray(made.pixel_array))
        theirs = pydicom.dcmread(f"{folder}/a.dcm")
    assert theirs.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    packed(made, next(pydicom.encaps.generate_frames(theirs.PixelData, number_of_frames=1)), "1.2.840.10008.1.2.4.70")


PACKS = {"rle": as_rle, "jpeg-ls": as_jpeg_ls, "lossless jpeg": as_lossless_jpeg, "jpeg 2000": as_jpeg_2000}
"""How pixels are packed."""
