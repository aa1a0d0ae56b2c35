"""The command keeps the rules of commands, and prints what it should."""

from click.testing import CliRunner
from frivkit.testing.conformance import check_cli_command

from frivkit_mine.command import command


def test_command_conforms():
    check_cli_command(command)


def test_command_prints_the_name_of_the_file(tmp_path):
    (tmp_path / "m.onnx").touch()
    result = CliRunner().invoke(command, [str(tmp_path / "m.onnx")])
    assert result.output == f"{tmp_path / 'm.onnx'}\n"
