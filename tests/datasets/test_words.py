"""Names of images and masks that differ in words."""

import pytest

from atrous.datasets.words import pair_by_words


@pytest.mark.parametrize(
    "image, mask, left, right",
    [
        ("c{}_leftImg8bit", "c{}_gtFine_labelIds", ["leftImg8bit"], ["gtFine", "labelIds"]),
        ("img_{:03}", "mask_{:03}", ["img"], ["mask"]),
        ("IMG-{}", "GT-{}", ["IMG"], ["GT"]),
        ("img{:03}", "seg{:03}", ["img"], ["seg"]),
        ("{}_training", "{}_manual1", ["training"], ["manual1"]),
        ("scan_image_{}", "scan_mask_{}", ["image"], ["mask"]),
        ("a/frame.{}.rgb", "a/frame.{}.vessels", ["rgb"], ["vessels"]),
        ("{}", "{}_vessels", [], ["vessels"]),
        ("2024_img_{}", "2024_gt_{}", ["img"], ["gt"]),
    ],
)
@pytest.mark.parametrize("numbers", [[7], [1, 10, 11], list(range(12))])
def test_words_that_are_in_all_names_of_a_side(
    image: str, mask: str, left: list[str], right: list[str], numbers: list[int]
) -> None:
    images, masks = [image.format(number) for number in numbers], [mask.format(number) for number in numbers]
    found = pair_by_words(images, masks[::-1])
    assert found == (dict(zip(images, masks, strict=True)), left, right)


@pytest.mark.parametrize(
    "images, masks",
    [
        (["p07"], ["p08_old"]),
        (["street"], ["park_mask"]),
        (["s_2020_1", "s_2020_2"], ["s_2021_1", "s_2021_2"]),
        (["scan1_img_1", "scan1_img_2"], ["scan2_mask_1", "scan2_mask_2"]),
        (["clipA_1", "clipA_2"], ["clipB_1", "clipB_2"]),
        (["img_1", "img_2", "img_3"], ["mask_1", "mask_7", "mask_8"]),
        (["img_1", "img_2"], ["mask_2", "mask_3"]),
        (["a/img_1", "a/img_2"], ["b/mask_1", "b/mask_2"]),
        (["img_1", "img_2"], []),
        ([], ["mask_1"]),
    ],
)
def test_names_that_tell_other_images_are_not_paired(images: list[str], masks: list[str]) -> None:
    assert pair_by_words(images, masks) is None


def test_a_mask_may_be_missing() -> None:
    found = pair_by_words(["img_1", "img_2", "img_3"], ["mask_3", "mask_1"])
    assert found is not None
    assert found.pairs == {"img_1": "mask_1", "img_3": "mask_3"}
