"""The branch and the job of a run by the variables of CI services."""

import pytest

from pytest_llmperf.machine import ci
from pytest_llmperf.session.results import _identity

COMMIT = "a" * 40
BRANCHES = {
    "github": ({"GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch"}, "main"),
    "github tag": ({"GITHUB_REF_NAME": "v1", "GITHUB_REF_TYPE": "tag"}, None),
    "github request": (
        {"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "fix", "GITHUB_BASE_REF": "main"},
        "fix",
    ),
    "github request of a fork's main": (
        {"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "main", "GITHUB_BASE_REF": "main"},
        "7/merge",
    ),
    "gitlab": ({"CI_COMMIT_BRANCH": "main"}, "main"),
    "gitlab tag": ({"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1"}, None),
    "gitlab request": (
        {
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        },
        "fix",
    ),
    "woodpecker request": (
        {
            "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_SOURCE_BRANCH": "fix",
            "CI_COMMIT_TARGET_BRANCH": "main",
        },
        "fix",
    ),
    "jenkins": ({"GIT_BRANCH": "origin/feature/a"}, "feature/a"),
    "jenkins multibranch": ({"BRANCH_NAME": "main", "GIT_BRANCH": "main"}, "main"),
    "jenkins request": (
        {"BRANCH_NAME": "PR-24", "CHANGE_BRANCH": "fix", "CHANGE_TARGET": "main"},
        "fix",
    ),
    "jenkins request of a fork's main": (
        {"BRANCH_NAME": "PR-24", "CHANGE_BRANCH": "main", "CHANGE_TARGET": "main"},
        "PR-24",
    ),
    "buildkite": ({"BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false"}, "main"),
    "buildkite request of a fork's main": (
        {
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_PULL_REQUEST": "12",
            "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main",
        },
        "pull/12",
    ),
    "azure": (
        {"BUILD_SOURCEBRANCH": "refs/heads/feature/a", "BUILD_SOURCEBRANCHNAME": "a"},
        "feature/a",
    ),
    "azure tag": ({"BUILD_SOURCEBRANCH": "refs/tags/v1"}, None),
    "azure request": (
        {
            "BUILD_SOURCEBRANCH": "refs/pull/1/merge",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix",
            "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
        },
        "fix",
    ),
    "circleci": ({"CIRCLE_BRANCH": "main"}, "main"),
    "bitbucket": ({"BITBUCKET_BRANCH": "main"}, "main"),
    "bitbucket tag": ({"BITBUCKET_TAG": "v1"}, None),
    "travis": ({"TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST_BRANCH": ""}, "main"),
    "travis request": ({"TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST_BRANCH": "fix"}, "fix"),
    "drone": ({"DRONE_BRANCH": "main"}, "main"),
    "semaphore": ({"SEMAPHORE_GIT_BRANCH": "main"}, "main"),
    "codebuild": ({"CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/main"}, "main"),
    "own": ({"PYTEST_LLMPERF_BRANCH": "main", "CI_COMMIT_BRANCH": "other"}, "main"),
    "none": ({}, None),
}
JOBS = {
    "github": ({"GITHUB_RUN_ID": "5", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_JOB": "perf"}, "5-2-perf"),
    "gitlab": ({"CI_JOB_ID": "9"}, "9"),
    "jenkins": ({"BUILD_ID": "7", "BUILD_TAG": "jenkins-perf-7"}, "jenkins-perf-7"),
    "buildkite": ({"BUILDKITE_JOB_ID": "e44f"}, "e44f"),
    "azure": ({"BUILD_BUILDID": "8", "SYSTEM_JOBID": "12f"}, "8-12f"),
    "circleci": ({"CIRCLE_WORKFLOW_JOB_ID": "c1"}, "c1"),
    "bitbucket": ({"BITBUCKET_STEP_UUID": "{b}", "BITBUCKET_STEP_RUN_NUMBER": "2"}, "{b}-2"),
    "travis": ({"TRAVIS_JOB_ID": "3"}, "3"),
    "none": ({"CI": "true"}, None),
}


@pytest.mark.parametrize(("environ", "branch"), BRANCHES.values(), ids=BRANCHES)
def test_the_branch_is_the_one_that_the_service_documents(environ, branch):
    assert ci.branch(environ, None) == branch


@pytest.mark.parametrize(("environ", "job"), JOBS.values(), ids=JOBS)
def test_a_job_is_one_attempt_of_one_job(environ, job):
    assert ci.job_id(environ) == job


def test_a_job_that_checked_out_another_commit_is_not_on_its_own_branch():
    environ = {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": "b" * 40}
    assert ci.branch(environ, COMMIT) is None
    assert ci.branch(environ, "b" * 40) == "main"


def identity(environ=(), **by_git):
    return _identity("r", "2026-01-01T00:00:00+00:00", by_git, dict(environ))


def test_a_branch_that_git_names_goes_before_that_of_the_ci():
    run = identity({"CI_COMMIT_BRANCH": "main"}, id=COMMIT, dirty=False, branch="feature")
    assert (run.commit, run.branch) == (COMMIT, "feature")


@pytest.mark.parametrize("commit", ["unknown", "unversioned"])
def test_what_git_does_not_know_is_not_recorded_as_a_commit(commit):
    run = identity(id=commit, dirty=False, branch="(unknown)")
    assert (run.commit, run.dirty, run.branch) == (None, None, None)


def test_a_side_of_a_comparison_has_no_branch_of_its_ci():
    environ = {"CI_COMMIT_BRANCH": "main", "PYTEST_LLMPERF_AB": "x"}
    assert identity(environ, id=COMMIT, dirty=False, branch="(detached head)").branch is None
