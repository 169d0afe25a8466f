"""Judging what the command has printed."""


def failed(result, *words) -> bool:
    """Exit status 1 and one clean message with all these words."""
    status, _, errors = result
    message = " ".join(errors.split())
    assert status == 1, result
    assert "Traceback" not in errors
    for word in words:
        assert word in message, message
    return True
