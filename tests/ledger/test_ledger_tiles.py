"""Tiles: the paths of C2SP tlog-tiles, and every proof computed from them alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.header import history_leaf
from ledger.chain.merkle import Levels, consistency_path, leaf_hash, verify_consistency, verify_inclusion
from ledger.encoding import u32
from ledger.errors import Refused
from ledger.proofs.tiles import WIDTH, Tile, TileTree, block_ids, bundle, exists, parse, tiles_of
from shangmi import sm3

BLOCKS = 66_000  # more than 256 * 256: three levels


def block_id(height: int) -> bytes:
    return sm3(u32(height))


@pytest.fixture(scope="module")
def tree() -> Levels:
    return Levels.over(history_leaf(block_id(one)) for one in range(BLOCKS))


def written(tree: Levels, size: int) -> dict[str, bytes]:
    return {one.path: one.read(tree.node) for one in tiles_of(size)}


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, 256, "tile/0/000"),
        (67, 256, "tile/0/067"),
        (1234067, 256, "tile/0/x001/x234/067"),
        (999, 112, "tile/0/999.p/112"),
        (1000, 1, "tile/0/x001/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(index: int, width: int, path: str) -> None:
    assert Tile(0, index, width).path == path
    assert parse("0", path.removeprefix("tile/0/")) == Tile(0, index, width)


def test_a_tree_of_70000_has_the_tiles_the_specification_lists() -> None:
    found = list(tiles_of(70_000))
    assert [one.width for one in found if one.level == 0] == [256] * 273 + [112]
    assert [(one.level, one.width) for one in found if one.level] == [(1, 256), (1, 17), (2, 1)]
    assert [one.path for one in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize(
    ("level", "rest"),
    [
        ("8", "000"), ("-1", "000"), ("00", "000"), ("x", "000"), ("", ""), ("0", ""), ("0", "0"), ("0", "0000"),
        ("0", "x000/000"), ("0", "000.p/0"), ("0", "000.p/256"), ("0", "000.p/01"), ("0", "000.p/999"),
        ("0", "001/000"), ("0", "x01/000"),
        ("0", "../000"), ("0", "000/"), ("0", "000.p/"), ("0", "٠٠٠"), ("٠", "000"), ("0", "000\n"),
        ("0", "x001/" * 6 + "000"), ("entries", "000"),
    ],
)  # fmt: skip
def test_what_is_no_path_of_a_tile_is_refused(level: str, rest: str) -> None:
    with pytest.raises(Refused, match="tile"):
        parse(level, rest)


@settings(derandomize=True, max_examples=200)
@given(st.text(max_size=12), st.text(max_size=30))
def test_no_path_raises_anything_but_refused(level: str, rest: str) -> None:
    try:
        found = parse(level, rest)
    except Refused:
        return
    assert found.path == f"tile/{level}/{rest}"


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.data())
def test_every_proof_is_computed_from_tiles_alone(tree: Levels, data: st.DataObject) -> None:
    size = data.draw(st.one_of(st.integers(1, 600), st.integers(65_000, BLOCKS)))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    asked: list[str] = []

    def fetch(path: str) -> bytes:
        asked.append(path)
        level, _, rest = path.removeprefix("tile/").partition("/")
        return parse(level, rest).read(tree.node)

    def node(level: int, place: int) -> bytes:
        return tree.node(level, place)

    tiles = TileTree(fetch, size)
    root = Levels.over(history_leaf(block_id(one)) for one in range(size)).root() if size < 601 else tiles.root()
    assert tiles.root() == root
    leaf = leaf_hash(history_leaf(block_id(index)))
    assert verify_inclusion(leaf, index, size, tiles.inclusion(index), root)
    path = tiles.consistency(old)
    assert path == consistency_path(old, size, node)
    assert verify_consistency(old, size, path, TileTree(fetch, old).root(), root)
    assert all(exists(parse(*one.removeprefix("tile/").split("/", 1)), size) for one in asked)


def test_a_tile_never_changes_once_its_tree_is_large_enough(tree: Levels) -> None:
    before, after = written(tree, 300), written(tree, 70_000 - 4_100)
    kept = [one for one in before if one in after]
    assert kept and all(before[one] == after[one] for one in kept)
    assert before["tile/0/001.p/44"] == after["tile/0/001"][: 44 * 32]
    assert exists(Tile(0, 1, 44), 300) and exists(Tile(0, 1, 44), 9_000)
    assert not exists(Tile(0, 1, 45), 300) and not exists(Tile(0, 1), 300) and not exists(Tile(1, 0, 2), 300)


def test_changed_short_or_long_tiles_lead_to_no_root(tree: Levels) -> None:
    files = written(tree, 1_000)
    root = TileTree(files.__getitem__, 1_000).root()
    for path, data in files.items():
        for lie in (data[:-1], data + bytes(32), data[:-32], b""):
            with pytest.raises(Refused, match="bytes, expected"):
                [TileTree({**files, path: lie}.__getitem__, 1_000).node(level, 0) for level in (0, 8)]
                TileTree({**files, path: lie}.__getitem__, 1_000).root()
                _all_leaves(TileTree({**files, path: lie}.__getitem__, 1_000))
    # The right edge's tiles reach the root; inner ones are bound by the tile above them.
    lie = bytes([files["tile/0/003.p/232"][0] ^ 1]) + files["tile/0/003.p/232"][1:]
    assert TileTree({**files, "tile/0/003.p/232": lie}.__getitem__, 1_000).root() != root


def _all_leaves(tree: TileTree) -> None:
    for index in range(0, tree.size, WIDTH):
        tree.node(0, index)


def test_entries_say_which_block_stands_at_which_height(tree: Levels) -> None:
    tile = Tile(0, 3, 232)
    data = bundle(tile, block_id)
    assert block_ids(data, tile) == [block_id(768 + one) for one in range(232)]
    hashes = b"".join(leaf_hash(history_leaf(one)) for one in block_ids(data, tile))
    assert hashes == tile.read(tree.node) and tile.entries_path == "tile/entries/003.p/232"
    for lie in (data[:-1], data + b"\0", b"", b"\1" + data[1:], data.replace(b"XL/BID", b"XL/BAD")):
        with pytest.raises(Refused):
            block_ids(lie, tile)
