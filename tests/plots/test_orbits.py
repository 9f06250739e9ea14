"""Orbits of published models over a figure."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.errors import DataError, UsageError
from iris_cli.plots import orbits
from iris_cli.plots.orbits import ON_SKY, WALKER_2025, Track, ellipse, over_from_north, over_lv, read_track, tracks


def lines(ax):
    """The lines of each gid."""
    found: dict[str, list] = {}
    for line in ax.lines:
        found.setdefault(line.get_gid(), []).append(line)
    return found


def test_the_ellipse_on_the_sky_is_the_published_track(shared_data):
    published = read_track(shared_data / "cmz_orbits" / "ellipse_resampled_300.txt")
    made = ellipse(WALKER_2025, "walker", ON_SKY)
    size = np.array([0.01, 0.01, 1.0])[:, None, None]
    there = np.stack([published.lon_deg, published.lat_deg, published.v_km_s])[:, :, None]
    here = np.stack([made.lon_deg, made.lat_deg, made.v_km_s])[:, None, :]
    off = np.linalg.norm((there - here) / size, axis=0)
    assert off.min(axis=1).max() < 0.6  # a hundredth of a degree, one km/s
    alike = made.near[off.argmin(axis=1)] == published.near
    assert alike.mean() > 0.97


def test_near_gas_of_the_ellipse_is_towards_the_sun_and_gas_at_positive_longitude_recedes():
    track = ellipse(WALKER_2025, "walker")
    assert track.away_pc is not None and track.left_pc is not None
    assert (track.away_pc[track.near] < 0).all() and (track.left_pc[track.lon_deg > 0.01] > 0).all()
    assert track.v_km_s[track.lon_deg > 0.45].mean() > 50.0
    assert track.lon_deg[0] == pytest.approx(track.lon_deg[-1])  # closed


def test_a_folder_gives_its_orbits_and_skips_other_tables(shared_data):
    found = tracks([str(shared_data / "cmz_orbits")])
    assert [track.name for track in found] == ["ellipse", "kdl", "molinari", "sofue"]
    assert all(len(track.near) == 300 for track in found)


def test_far_parts_are_dashed_near_parts_solid_and_both_named():
    ax = Figure().subplots()
    over_lv(ax, [ellipse(WALKER_2025, "walker")])
    parts = lines(ax)
    assert {line.get_linestyle() for line in parts["walker near"]} == {"-"}
    assert {line.get_linestyle() for line in parts["walker far"]} == {"--"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["walker", "near", "far"]


def test_arms_of_one_file_are_not_joined():
    along = np.linspace(0.0, 1.0, 50)
    track = Track("two", np.append(along, along), np.zeros(100), np.append(along, along + 5.0), np.ones(100, bool))
    ax = Figure().subplots()
    over_lv(ax, [track])
    arms = lines(ax)["two near"]
    assert [len(arm.get_xdata()) for arm in arms] == [50, 50]


def test_a_sparse_file_is_one_line_and_its_near_and_far_parts_meet(tmp_path):
    (tmp_path / "arm.txt").write_text("# l b v\n0 0 10 near\n0.3 0 30 near\n\n0.6 0 50 far\n0.9 0 70 Far\n")
    ax = Figure().subplots()
    over_lv(ax, [read_track(tmp_path / "arm.txt")])
    parts = lines(ax)
    assert parts["arm near"][0].get_xdata().tolist() == [0.0, 0.3, 0.6]
    assert parts["arm far"][0].get_xdata().tolist() == [0.6, 0.9]


def test_orbits_without_distances_are_refused_on_a_view_from_above(tmp_path):
    (tmp_path / "arm.txt").write_text("0 0 10 near\n1 0 20 far\n")
    with pytest.raises(UsageError, match="distances of the points of 'arm' are unknown"):
        over_from_north(Figure().subplots(), tracks([str(tmp_path / "arm.txt")]))


def test_names_folders_and_files_without_an_orbit_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no orbit 'walkr'"):
        tracks(["walkr"])
    file, valid = tmp_path / "arm.txt", b"0 0 10 near\n"
    for row in (b"0 0 10", b"0 0 ten near", b"0 0 10 middle"):
        file.write_bytes(valid + row)
        with pytest.raises(DataError, match="row 2"):
            tracks([str(file)])
    for text, message in ((b"# nothing\n", "no points"), (b"\xff\xfe\x00", "cannot be read as text")):
        file.write_bytes(text)
        with pytest.raises(DataError, match=message):
            tracks([str(file)])
    with pytest.raises(DataError, match="holds no orbit"):
        tracks([str(tmp_path)])


def test_colours_repeat_for_many_orbits_and_the_limits_of_the_axes_do_not_change():
    ax = Figure().subplots()
    ax.set(xlim=(0.1, -0.1), ylim=(-10, 10))
    over_lv(ax, [ellipse(WALKER_2025, str(i)) for i in range(len(orbits.COLOURS) + 2)])
    assert len({line.get_gid().split()[0] for line in ax.lines}) == len(orbits.COLOURS) + 2
    assert ax.get_xlim() == (0.1, -0.1) and ax.get_ylim() == (-10, 10)
