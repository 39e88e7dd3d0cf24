"""bsub for submitit: `AutoExecutor(folder, cluster="lsf")`."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from submitit.core import core, utils

from worldmodels.core.errors import ConfigError
from worldmodels.launch.lsf.ids import unique
from worldmodels.launch.lsf.job import LsfJob
from worldmodels.launch.lsf.parameters import EQUIVALENT, known, parameters
from worldmodels.launch.lsf.script import script
from worldmodels.launch.lsf.submit import RefusedError, accepted, submit
from worldmodels.launch.lsf.tasks import Layout

RECORD = "lsf_jobs.txt"  # a line per submission: the number, the name


class LsfExecutor(core.PicklingExecutor):
    """Submits calls as jobs, several as elements of an array. `parameters.Parameters` says what they may ask for.

    python: the shell's word for a Python that can import this package, such as `singularity exec image.sif python`.
    """

    job_class = LsfJob

    def __init__(
        self,
        folder: str | Path,
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
        python: str | None = None,
    ) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout, max_pickle_size_gb=max_pickle_size_gb)
        self.python = python or shlex.quote(sys.executable)
        if self.affinity() < 0:
            raise ConfigError(
                "the command bsub is not here",
                "a host from which jobs of LSF can be submitted",
                "log in to one, and source LSF's profile.lsf",
            )

    @classmethod
    def affinity(cls) -> int:
        """SLURM is preferred where both are."""
        if shutil.which("bsub") is None:
            return -1
        return 1 if shutil.which("srun") else 2

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return core.EquivalenceDict(**EQUIVALENT)

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return {*known(), "python"}

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        self.python = kwargs.pop("python", None) or self.python
        parameters({**self.parameters, **kwargs})  # says what is wrong before anything is submitted
        super()._internal_update_parameters(**kwargs)

    def _internal_process_submissions(
        self, delayed_submissions: Sequence[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        """One call is a job, several are an array, and very many are several arrays."""
        options = parameters(self.parameters)
        base = utils.JobPaths.get_first_id_independent_folder(self.folder)
        base.mkdir(parents=True, exist_ok=True)
        size = options.array_size
        parts = [delayed_submissions[start : start + size] for start in range(0, len(delayed_submissions), size)]
        jobs: list[core.Job[Any]] = []
        for part in parts:
            pickles = list(_pickled(part, base, options.time, self.max_num_timeout, self.max_pickle_size_gb))
            self._throttle()
            self._last_job_submitted = time.time()
            names = self._submit(base, len(pickles) if len(delayed_submissions) > 1 else None)
            part_jobs = [LsfJob(self.folder, name, list(range(options.tasks))) for name in names]
            for job, pickle in zip(part_jobs, pickles, strict=True):
                job.paths.move_temporary_file(pickle, "submitted_pickle")
            jobs += part_jobs
        return jobs

    def _submit(self, base: Path, count: int | None) -> list[str]:
        """The ids of the jobs: an array's elements are counted from 1."""
        uid = uuid.uuid4().hex
        name = unique(parameters(self.parameters).job_name, uid)
        text = self._make_submission_file_text("", uid, count)
        path = base / f".submission_file_{uid}.sh"
        path.write_text(text, encoding="utf-8")
        try:
            number = submit(text, name)
        except RefusedError as error:
            raise utils.FailedJobError(f"{error}\nthe script: {path}") from error  # as for any command that fails
        with (base / RECORD).open("a", encoding="utf-8") as record:
            record.write(f"{number}\t{name}\n")
        utils.JobPaths(self.folder, job_id=number).move_temporary_file(path, "submission_file", keep_as_symlink=True)
        return [number] if count is None else [f"{number}_{index}" for index in range(1, count + 1)]

    def _num_tasks(self) -> int:
        return parameters(self.parameters).tasks

    def _make_submission_file_text(self, command: str, uid: str, count: int | None = None) -> str:
        """The batch script of a job, or of an array of `count`; an empty command is ours, which starts the tasks."""
        options = parameters(self.parameters)
        base = utils.JobPaths.get_first_id_independent_folder(self.folder)
        layout = Layout(str(self.folder), options.nodes, options.tasks_per_node, options.stderr_to_stdout)
        command = command or f"{self.python} -u -m {Layout.__module__} {shlex.join(layout.words())}"
        return script(options, unique(options.job_name, uid), base, command, count)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:  # noqa: ARG002 - it reads stdin
        return ["bsub"]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        number = accepted(string if isinstance(string, str) else string.decode())
        if number is None:
            raise utils.FailedSubmissionError(f"no job number in bsub's answer {string!r}")
        return number


def _pickled(
    calls: Sequence[utils.DelayedSubmission], folder: Path, minutes: int, timeouts: int, largest_gb: float
) -> Iterator[Path]:
    for number, call in enumerate(calls):
        path = folder / f"{uuid.uuid4().hex}.pkl"
        call.set_timeout(minutes, timeouts)
        call.dump(path)
        total = len(calls) * path.stat().st_size / 1024**3
        if number == 0 and total > largest_gb:
            path.unlink()
            raise ConfigError(
                f"calls that pickle to about {total:.2f} GB",
                f"at most max_pickle_size_gb={largest_gb}",
                "give smaller arguments, or a larger max_pickle_size_gb",
            )
        yield path
