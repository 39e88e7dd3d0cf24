import numpy as np
import pytest
from gymnasium import spaces

from worldmodels.command import run
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.minari import export_minari, import_minari, load
from worldmodels.data.store import EpisodeStore

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")  # it asks for an author and an address

SPEC = EnvSpec(
    "toy",
    {"image": ArraySpec((8, 8, 3), "uint8", "image"), "grid": ArraySpec((3, 3, 4), "bool", "planes")},
    4,
    extras={"level": ArraySpec((), "int64")},
)


@pytest.fixture(autouse=True)
def local(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def lived(number: int, steps: int, *, terminated: bool, truncated: bool) -> Episode:
    rng = np.random.default_rng(number)
    obs = {
        "image": rng.integers(0, 256, (steps + 1, 8, 8, 3), np.uint8),
        "grid": rng.random((steps + 1, 3, 3, 4)) < 0.5,
    }
    reward = rng.random(steps, np.float32)
    extras = {"level": rng.integers(9, size=steps)}
    return Episode(obs, rng.integers(4, size=steps), reward, terminated, truncated, extras, {"seed": number}, number)


def test_a_store_comes_back_from_minari_as_it_was(tmp_path):
    with EpisodeStore.create(tmp_path / "a", SPEC) as store:
        store.extend([lived(0, 7, terminated=True, truncated=False), lived(1, 5, terminated=False, truncated=True)])
        store.extend([lived(2, 4, terminated=False, truncated=False)])
        export_minari(store, "test/toy-v0", algorithm_name="random", author="Nobody")
        dataset = load("test/toy-v0")
        assert (dataset.total_episodes, dataset.total_steps) == (2, 12)
        assert dataset.storage.metadata["algorithm_name"] == "random"
        assert import_minari(dataset, tmp_path / "b") == 2
        again = EpisodeStore.open(tmp_path / "b")
        assert again.spec == store.spec
        for number in (0, 1):
            one, two = store[number], again[number]
            for name in SPEC.obs:
                np.testing.assert_array_equal(one.obs[name], two.obs[name])
            np.testing.assert_array_equal(one.action, two.action)
            np.testing.assert_array_equal(one.reward, two.reward)
            np.testing.assert_array_equal(one.extras["level"], two.extras["level"])
            assert (one.terminated, one.truncated) == (two.terminated, two.truncated)
            assert two.source == {"minari": "test/toy-v0", "episode": number, "seed": number}
        with pytest.raises(ConfigError, match="exists"):
            export_minari(store, "test/toy-v0")


def foreign(name: str, observation_space, action_space, observations, actions) -> None:
    steps = len(actions)
    flags = np.zeros(steps, bool)
    buffer = minari.data_collector.EpisodeBuffer(
        id=0,
        observations=observations,
        actions=actions,
        rewards=np.arange(steps, dtype=np.float64),
        terminations=flags,
        truncations=flags,
    )
    minari.create_dataset_from_buffers(name, [buffer], observation_space=observation_space, action_space=action_space)


def test_a_foreign_data_set_is_mapped_to_our_types(tmp_path):
    seen = {"state": np.linspace(0, 1, 12).reshape(6, 2), "where": {"cell": np.arange(6)}}
    space = spaces.Dict(
        {"state": spaces.Box(-1, 1, (2,), np.float64), "where": spaces.Dict({"cell": spaces.Discrete(9)})}
    )
    actions = np.linspace(0, 10, 5, dtype=np.float32)[:, None]
    foreign("test/foreign-v0", space, spaces.Box(0, 10, (1,)), seen, actions)
    assert run("minari", ["import", "test/foreign-v0", str(tmp_path / "s")]) == 0
    store = EpisodeStore.open(tmp_path / "s")
    assert store.spec.obs == {"state": ArraySpec((2,), "float32"), "where.cell": ArraySpec((1,), "int64")}
    episode = store[0]
    np.testing.assert_allclose(episode.action[:, 0], [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(episode.obs["where.cell"][:, 0], np.arange(6))
    np.testing.assert_allclose(episode.obs["state"], seen["state"], rtol=1e-6)
    assert episode.truncated
    assert not store.verify()


def test_actions_that_begin_elsewhere_are_shifted(tmp_path):
    foreign("test/one-v0", spaces.Box(0, 1, (3,)), spaces.Discrete(3, start=2), np.zeros((4, 3), "f4"), [2, 4, 3])
    import_minari(load("test/one-v0"), tmp_path / "s")
    store = EpisodeStore.open(tmp_path / "s")
    assert store[0].action.tolist() == [0, 2, 1]
    assert (store.spec.action_size, list(store.spec.obs)) == (3, ["obs"])


def test_unbounded_actions_and_missing_data_sets_are_refused(tmp_path):
    foreign(
        "test/wild-v0", spaces.Box(0, 1, (3,)), spaces.Box(-np.inf, np.inf, (1,)), np.zeros((2, 3)), np.zeros((1, 1))
    )
    with pytest.raises(SpecError, match="finite bounds"):
        import_minari(load("test/wild-v0"), tmp_path / "s")
    with pytest.raises(ConfigError, match="minari download"):
        load("test/nowhere-v0")


def test_the_command_exports_what_is_over(tmp_path, capsys):
    with EpisodeStore.create(tmp_path / "a", SPEC) as store:
        store.extend([lived(0, 7, terminated=True, truncated=False), lived(1, 3, terminated=False, truncated=False)])
    assert run("minari", ["export", str(tmp_path / "a"), "test/made-v0", "--author", "Nobody"]) == 0
    assert "1 episodes in test/made-v0; left out 1 not over" in capsys.readouterr().out
    assert load("test/made-v0").total_steps == 7


def test_jpeg_frames_come_back_nearly_and_in_the_right_type(tmp_path):
    spec = EnvSpec("toy", {"image": ArraySpec((32, 32, 3), "uint8", "image")}, 4)
    smooth = np.broadcast_to(np.arange(0, 160, 5, dtype=np.uint8)[:, None, None], (4, 32, 32, 3)).copy()
    with EpisodeStore.create(tmp_path / "a", spec) as store:
        store.extend([Episode({"image": smooth}, np.zeros(3, np.int64), np.zeros(3, np.float32), True, False)])
        export_minari(store, "test/jpeg-v0", jpeg=True)
    import_minari(load("test/jpeg-v0"), tmp_path / "b")
    image = EpisodeStore.open(tmp_path / "b")[0].obs["image"]
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - smooth).max() < 12


@pytest.mark.parametrize(("name", "do"), [("test/made", "try test/made-v0"), ("a b-v0", "mine/breakout-v0")])
def test_an_id_that_minari_can_not_read_is_refused_before_anything_is_written(tmp_path, capsys, name, do):
    with EpisodeStore.create(tmp_path / "a", SPEC) as store:
        store.extend([lived(0, 7, terminated=True, truncated=False)])
    assert run("minari", ["export", str(tmp_path / "a"), name]) == 2
    error = capsys.readouterr().err
    assert f"{name!r} is no id of a Minari data set" in error
    assert do in error
    assert not (tmp_path / "minari").exists() or not list((tmp_path / "minari").iterdir())


def test_a_store_without_an_episode_that_is_over_is_not_exported(tmp_path, capsys):
    with EpisodeStore.create(tmp_path / "a", SPEC) as store:
        store.extend([lived(1, 3, terminated=False, truncated=False)])
    assert run("minari", ["export", str(tmp_path / "a"), "test/none-v0"]) == 2
    assert "no episode that is over" in capsys.readouterr().err
