"""What all algorithms share: their parameters from options, and running the command."""

import os
import shlex
from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import QgsProcessingAlgorithm, QgsProcessingException
from qgis.PyQt.QtGui import QIcon

from .command import CommandMissing, clean_environment, find_command
from .options import OVERWRITE, arguments
from .parameters import FILE, FOLDER, parameter_of, value_of
from .process import CommandFailed, Share, run

SETTING = "ksdiff/command"
ICON = str(Path(__file__).parent / "icon.svg")
STAGES = {"Starting": 4, "Adapting": 0, "Surveying": 12, "Sharpening": 80}
REPORT_STAGES = {"Reporting": 6, "Judging": 8}


def command():
    """Path of the command.

    Raises:
        CommandMissing: there is none.
    """
    told = ProcessingConfig.getSetting(SETTING) or ""
    return find_command(told, os.environ, Path.home())


class KSDiffAlgorithm(QgsProcessingAlgorithm):
    """One command of ksdiff. Subclasses say which, its options and what else it takes."""

    ID = LABEL = HELP = ""
    OPTIONS = ()
    OUTPUTS = ()  # parameters of files that are written

    def createInstance(self):
        return type(self)()

    def name(self):
        return self.ID

    def displayName(self):
        return self.LABEL

    def shortHelpString(self):
        # QGIS begins a paragraph at every end of a line.
        return "\n".join(text.replace("\n", " ") for text in self.HELP.split("\n\n"))

    def icon(self):
        return QIcon(ICON)

    def canExecute(self):
        try:
            command()
        except CommandMissing as error:
            return False, str(error)
        return True, ""

    def add_options(self, *options):
        for option in options:
            self.addParameter(parameter_of(option))

    def option_arguments(self, parameters, context):
        values = {
            option.parameter: value_of(self, option, parameters, context) for option in self.OPTIONS
        }
        return arguments(self.OPTIONS, values)

    def checkParameterValues(self, parameters, context):
        good, message = super().checkParameterValues(parameters, context)
        if not good:
            return good, message
        message = self.problem(parameters, context)
        return message is None, message or ""

    def problem(self, parameters, context):
        """What is wrong with the parameters and can be said before anything runs."""
        if self.parameterAsBoolean(parameters, OVERWRITE.parameter, context):
            return None
        for name in self.OUTPUTS:
            path = self.parameterAsFileOutput(parameters, name, context)
            if path and os.path.exists(path):
                return (
                    f"{name}: {path} exists already; choose another name or tick "
                    f"'{OVERWRITE.label}' (OVERWRITE=true)"
                )
        return None

    def given(self, parameters, context):
        """The folder or file that is given.

        Raises:
            QgsProcessingException: neither or both.
        """
        problem = self.given_problem(parameters, context)
        if problem:
            raise QgsProcessingException(problem)
        folder, file = self._folder_and_file(parameters, context)
        return folder or file

    def given_problem(self, parameters, context):
        """What is wrong with the folder or file, of which one must be given."""
        folder, file = self._folder_and_file(parameters, context)
        if bool(folder) != bool(file):
            return None
        got = "both" if folder else "neither"
        return f"give either {FOLDER} or {FILE}; {got} of them is set"

    def _folder_and_file(self, parameters, context):
        return [
            self.parameterAsString(parameters, name, context).strip() for name in (FOLDER, FILE)
        ]

    def run_command(self, words, feedback, stages, outputs):
        """Run the command; returns whether it came to its end, False where it was cancelled.

        Raises:
            QgsProcessingException: what the command has said of its error.
        """
        share = Share(stages)
        told = []

        def progress(stage, done, count):
            if told[-1:] != [stage]:
                told.append(stage)
                feedback.setProgressText(stage)
            feedback.setProgress(share.percent(stage, done, count))

        try:
            call = [str(command()), *words, "--progress", "json"]
            feedback.pushCommandInfo(shlex.join(call))
            ended = run(
                call,
                clean_environment(os.environ),
                progress=progress,
                log=feedback.pushConsoleInfo,
                cancelled=feedback.isCanceled,
                outputs=outputs,
            )
        except (CommandMissing, CommandFailed) as error:
            raise QgsProcessingException(str(error)) from None
        if ended:
            feedback.setProgress(100)
        else:
            feedback.pushInfo("Cancelled; no output was written")
        return ended
