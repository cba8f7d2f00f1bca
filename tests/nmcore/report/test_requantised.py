from nmcore.report.requantised import Requantised


def test_what_was_not_measured_is_told():
    assert (
        Requantised(1).note == "quantised again: 1 weight; what that alone costs was not measured"
    )
    assert "not measured" not in Requantised(3, 1.0, 2.0, 3.0).note
