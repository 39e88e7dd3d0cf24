from worldmodels.core.spec import ArraySpec, EnvSpec, describe_action


def test_one_number_is_told_apart_from_many():
    def told(size: int, discrete: bool) -> str:
        return describe_action(EnvSpec("x", {"vector": ArraySpec((1,), "float32")}, size, discrete))

    assert told(1, False) == "1 number in [-1, 1]"
    assert told(3, False) == "3 numbers in [-1, 1]"
    assert told(4, True) == "4 choices"


def test_equally_many_actions_of_other_names_are_a_difference():
    def spec(*names: str) -> EnvSpec:
        return EnvSpec("x", {"vector": ArraySpec((1,), "float32")}, 2, action_names=names)

    assert spec("left", "right").differences(spec("up", "down")) == ["actions: left, right here, up, down there"]
    assert not spec("left", "right").differences(spec("left", "right"))
    assert not spec("left", "right").differences(spec()), "what has no names may be anything"
