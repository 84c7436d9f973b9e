import pytest

from training.kit.splits import assert_disjoint, hash_split

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
LESIONS = [f"lesion-{i // 2}" for i in range(4000)]  # two images each


def test_every_row_is_in_exactly_one_split() -> None:
    rows = hash_split(LESIONS, SHARES, "salt")
    assert sorted(i for chosen in rows.values() for i in chosen) == list(range(len(LESIONS)))


def test_the_images_of_a_lesion_stay_together() -> None:
    rows = hash_split(LESIONS, SHARES, "salt")
    members = [{LESIONS[i] for i in chosen} for chosen in rows.values()]
    assert not members[0] & members[1] | members[0] & members[2] | members[1] & members[2]


def test_the_shares_are_kept() -> None:
    rows = hash_split(LESIONS, SHARES, "salt")
    for split, share in SHARES.items():
        assert len(rows[split]) / len(LESIONS) == pytest.approx(share, abs=0.03)  # four standard deviations of 2,000 draws


def test_a_lesion_keeps_its_side_when_others_are_left_out() -> None:
    whole, part = hash_split(LESIONS, SHARES, "salt"), hash_split(LESIONS[::7], SHARES, "salt")
    sides = {LESIONS[i]: split for split, chosen in whole.items() for i in chosen}
    assert all(sides[LESIONS[::7][i]] == split for split, chosen in part.items() for i in chosen)


def test_another_salt_gives_another_split() -> None:
    assert set(hash_split(LESIONS, SHARES, "salt")["test"]) != set(hash_split(LESIONS, SHARES, "pepper")["test"])


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        hash_split(LESIONS, {"train": 0.7, "test": 0.2}, "salt")


def test_a_lesion_on_two_sides_is_named() -> None:
    with pytest.raises(ValueError, match="'lesion-7' is in train and in test"):
        assert_disjoint({"train": ["lesion-1", "lesion-7"], "test": ["lesion-7", "lesion-2"]})
