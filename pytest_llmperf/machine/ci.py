"""The branch and the job of a run, as CI services name them in their environment variables.

Most services check out a commit and not a branch, so git has no name for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.defaults import BRANCH, JOB

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_REFS = ("refs/heads/", "refs/remotes/origin/", "origin/")


@dataclass(frozen=True)
class _Service:
    """Environment variables of a CI service, as its documentation defines them."""

    job: tuple[str, ...]
    """Together they name one attempt of one job; without the first, it is another service."""
    branch: tuple[str, ...]
    """The branch that is built; the first that is set."""
    commit: str = ""
    source: str = ""
    """A pull request's own branch; set for nothing else, unless it is one of ``branch``."""
    target: str = ""
    """The branch that a pull request is to be merged into."""
    request: str = ""
    """A pull request's name or number."""
    tag: str = ""
    """Set where a tag is built, which is not a branch."""


_SERVICES = (
    _Service(  # GitHub Actions
        job=("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB"),
        branch=("GITHUB_REF_NAME",),
        commit="GITHUB_SHA",
        source="GITHUB_HEAD_REF",
        target="GITHUB_BASE_REF",
        request="GITHUB_REF_NAME",
    ),
    _Service(  # Woodpecker: its CI_COMMIT_BRANCH is the target of a pull request
        job=("CI_PIPELINE_NUMBER", "CI_WORKFLOW_NUMBER", "CI_STEP_NUMBER"),
        branch=(),
        source="CI_COMMIT_SOURCE_BRANCH",
        target="CI_COMMIT_TARGET_BRANCH",
        request="CI_COMMIT_PULL_REQUEST",
    ),
    _Service(  # GitLab
        job=("CI_JOB_ID",),
        branch=("CI_COMMIT_BRANCH",),
        commit="CI_COMMIT_SHA",
        source="CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        target="CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
        request="CI_MERGE_REQUEST_REF_PATH",
    ),
    _Service(
        job=("BUILDKITE_JOB_ID",),
        branch=("BUILDKITE_BRANCH",),
        commit="BUILDKITE_COMMIT",
        source="BUILDKITE_BRANCH",
        target="BUILDKITE_PULL_REQUEST_BASE_BRANCH",
        request="BUILDKITE_PULL_REQUEST",
        tag="BUILDKITE_TAG",
    ),
    _Service(  # Azure Pipelines: a job's id is unique in its pipeline only
        job=("BUILD_BUILDID", "SYSTEM_JOBID"),
        branch=("BUILD_SOURCEBRANCH", "BUILD_SOURCEBRANCHNAME"),
        commit="BUILD_SOURCEVERSION",
        source="SYSTEM_PULLREQUEST_SOURCEBRANCH",
        target="SYSTEM_PULLREQUEST_TARGETBRANCH",
        request="BUILD_SOURCEBRANCH",
    ),
    _Service(  # CircleCI: a fork's pull request is the branch pull/NUMBER
        job=("CIRCLE_WORKFLOW_JOB_ID",),
        branch=("CIRCLE_BRANCH",),
        commit="CIRCLE_SHA1",
        tag="CIRCLE_TAG",
    ),
    _Service(  # Bitbucket Pipelines
        job=("BITBUCKET_STEP_UUID", "BITBUCKET_STEP_RUN_NUMBER"),
        branch=("BITBUCKET_BRANCH",),
        commit="BITBUCKET_COMMIT",
        source="BITBUCKET_BRANCH",
        target="BITBUCKET_PR_DESTINATION_BRANCH",
        request="BITBUCKET_PR_ID",
        tag="BITBUCKET_TAG",
    ),
    _Service(  # Travis CI: its TRAVIS_BRANCH is the target of a pull request
        job=("TRAVIS_JOB_ID",),
        branch=("TRAVIS_BRANCH",),
        commit="TRAVIS_COMMIT",
        source="TRAVIS_PULL_REQUEST_BRANCH",
        target="TRAVIS_BRANCH",
        request="TRAVIS_PULL_REQUEST",
        tag="TRAVIS_TAG",
    ),
    _Service(  # AppVeyor: likewise
        job=("APPVEYOR_JOB_ID",),
        branch=("APPVEYOR_REPO_BRANCH",),
        commit="APPVEYOR_REPO_COMMIT",
        source="APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH",
        target="APPVEYOR_REPO_BRANCH",
        request="APPVEYOR_PULL_REQUEST_NUMBER",
        tag="APPVEYOR_REPO_TAG_NAME",
    ),
    _Service(  # Drone: sets source and target for a push, too
        job=("DRONE_BUILD_NUMBER", "DRONE_STAGE_NUMBER", "DRONE_STEP_NUMBER"),
        branch=("DRONE_BRANCH",),
        commit="DRONE_COMMIT_SHA",
        source="DRONE_SOURCE_BRANCH",
        target="DRONE_TARGET_BRANCH",
        request="DRONE_PULL_REQUEST",
        tag="DRONE_TAG",
    ),
    _Service(  # Semaphore
        job=("SEMAPHORE_JOB_ID",),
        branch=("SEMAPHORE_GIT_WORKING_BRANCH", "SEMAPHORE_GIT_BRANCH"),
        commit="SEMAPHORE_GIT_SHA",
        tag="SEMAPHORE_GIT_TAG_NAME",
    ),
    _Service(  # AWS CodeBuild
        job=("CODEBUILD_BUILD_ID",),
        branch=("CODEBUILD_WEBHOOK_HEAD_REF",),
        commit="CODEBUILD_RESOLVED_SOURCE_VERSION",
        source="CODEBUILD_WEBHOOK_HEAD_REF",
        target="CODEBUILD_WEBHOOK_BASE_REF",
        request="CODEBUILD_WEBHOOK_TRIGGER",
    ),
    _Service(  # Jenkins: its BUILD_ID is the number of a build, which every project counts for itself
        job=("BUILD_TAG",),
        branch=("BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH"),
        commit="GIT_COMMIT",
        source="CHANGE_BRANCH",
        target="CHANGE_TARGET",
        request="BRANCH_NAME",
        tag="TAG_NAME",
    ),
    _Service(  # Google Cloud Build, where its substitutions are mapped to variables
        job=("BUILD_ID",),
        branch=("BRANCH_NAME",),
        commit="COMMIT_SHA",
        source="_HEAD_BRANCH",
        target="_BASE_BRANCH",
        request="_PR_NUMBER",
        tag="TAG_NAME",
    ),
)

VARIABLES = frozenset(
    name
    for service in _SERVICES
    for name in (
        *service.job,
        *service.branch,
        service.commit,
        service.source,
        service.target,
        service.request,
        service.tag,
    )
    if name
)
"""Every variable that is read here, without those of this package."""


def job_id(environ: Mapping[str, str]) -> str | None:
    """Return the name of one attempt of a CI job; None outside of CI."""
    if environ.get(JOB):
        return environ[JOB]
    for service in _SERVICES:
        if environ.get(service.job[0]):
            return "-".join(filter(None, (environ.get(name) for name in service.job)))
    return None


def branch(environ: Mapping[str, str], commit: str | None) -> str | None:
    """Return the branch that a CI job says it has checked out; None where none says it.

    Args:
        commit: the commit that is checked out, where it is known: a job that has checked out another one
            than its own is not on its own branch.
    """
    if environ.get(BRANCH):
        return environ[BRANCH]
    for service in _SERVICES:
        name = _branch(service, environ, commit)
        if name:
            return name
    return None


def _branch(service: _Service, environ: Mapping[str, str], commit: str | None) -> str:
    """Return the branch by the variables of one service; empty where they name none."""
    source = _short(environ.get(service.source, ""))
    target = _short(environ.get(service.target, ""))
    if source and (target or service.source not in service.branch):
        # The branch "main" of a fork is not the branch that it is to be merged into.
        request = environ.get(service.request, "")
        return _of_request(request) if source == target and request else source
    built = environ.get(service.commit, "")
    other = commit and _COMMIT.fullmatch(built) and built != commit
    if other or environ.get(service.tag) or environ.get("GITHUB_REF_TYPE") == "tag":
        return ""
    names = (_short(environ.get(name, "")) for name in service.branch)
    return next((name for name in names if name and not name.startswith("refs/tags/")), "")


def _short(ref: str) -> str:
    """Return a branch without the part that says that it is one."""
    return next((ref.removeprefix(prefix) for prefix in _REFS if ref.startswith(prefix)), ref)


def _of_request(name: str) -> str:
    return f"pull/{name}" if name.isdecimal() else name
