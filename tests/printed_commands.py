"""Which test runs each command line that the project prints; a printed line that is not here fails a test."""

QUICK: dict[str, tuple[str, ...]] = {
    "the stages": (
        "repro config",
        "repro config --groups",
        "repro config --method cg data=digits model.l2=0.1",
        "repro train",
        "repro influence --method lissa",
        "repro retrain",
        "repro plot",
        "repro retrain removals=random removals.count=500",
        "repro ground-truth --test-index 8 --test-index 46 --out truth.parquet",
        "repro ground-truth -t 46 -t 63 -t 77 --out truth.parquet",
    ),
    "own data": (
        "repro train data=digits model.l2=0.001",
        "repro train data=npz data.path=mine.npz model.bias=true output_dir=outputs/mine",
    ),
}
"""Each list runs in its order, in a folder of its own, on MNIST in miniature; in this process."""

SLOW: dict[str, tuple[str, ...]] = {
    "the figure": (
        "repro train",
        "repro influence --method cg 'test_index=[8,33]'",
        "repro influence --method lissa influence.repeats=1 influence.seed=3",
        "repro run --method cg --method lissa",
        "repro run --method exact --method lissa",
        "repro run --method exact --method cg --method lissa --method grad_dot",
        "repro report",
        "repro plot plot.limits=0.05 top_k=200",
        "repro plot plot=paper",
        "repro run --method cg model.l2=0.1 'test_index=[8,33,46]'",
        "repro lds --method cg --method grad_dot removals.count=100 'test_index=[8,33,46]'",
        "repro compare",
        "repro compare 'compare.settings=[cg,\"lissa depth=20000\"]'",
        "repro diagnose",
        "repro diagnose experiment=report",
        "repro run --method exact --method cg --method lissa --method grad_dot output_dir=outputs/figure",
        "repro report output_dir=outputs/figure --quiet --open",
        "repro check outputs/figure --data-root ~/data",
    ),
    "every point": (
        "repro train",
        "repro influence --method cg 'test_index=[8,33,46]'",
        "repro retrain removals=random removals.count=5500",
        "repro retrain removals=all",
        "repro plot removals=all 'test_index=[8,33,46]'",
    ),
    "digits": (
        "repro run data=digits --method cg",
        "repro report data=digits --open",
        "repro ground-truth data=digits --out truth.csv",
        "repro ground-truth data=digits --format dattri --out truth",
        "repro export-model data=digits --out linear.pt",
        "repro run data=digits --method cg removals=groups",
        "repro run data=digits --method cg --method newton_step --method rif removals=random_groups",
        "repro lds data=digits --method cg",
        "repro lds data=digits --method cg --sgd-seeds 3",
        "repro lds data=digits --method cg --method grad_dot --sgd-seeds 3",
        "repro lds data=digits --method cg --method grad_dot",
        "repro diagnose data=digits",
        "repro diagnose data=digits --method cg",
        "repro compare data=digits",
        "repro run data=digits --method cg model.l2=0.1 'test_index=[3,14]'",
    ),
    "networks": (
        "repro run --method exact data=digits model=network top_k=100",
        "repro run --method exact data=digits model=network model.l2=0.001 model.seed=1 fit=newton top_k=100",
    ),
    "the quadratic": (
        "repro run --method exact --method cg data=digits data.num_train=200 model=network fit=adam "
        "fit.steps=400 fit.learning_rate=0.01 fit.batch_size=50 top_k=10 influence.damping=0.01 "
        "retrain=quadratic",
    ),
    "the demo": (
        "repro run data=digits --method exact --method cg --method lissa --method grad_dot "
        "output_dir=outputs/demo",
        "repro report data=digits output_dir=outputs/demo --quiet --open",
        "repro report outputs/demo",
        "repro influence outputs/demo --method exact",
        "repro export-model outputs/demo --out linear.safetensors",
        "repro check outputs/demo",
    ),
}
"""As `QUICK`, but they take minutes together."""

PROCESSES: dict[str, tuple[str, ...]] = {
    "four processes": (
        "repro train",
        "repro influence --method lissa",
        "repro influence --method exact --gpus 4",
        "repro retrain --gpus 4",
        "repro plot",
    ),
    "a sweep over λ": ("repro sweep model.l2=0.01,0.1",),
    "a sweep on digits": ("repro sweep data=digits --method cg model.l2=0.001,0.01,0.1",),
    "a sweep of LiSSA": ("repro sweep --method lissa influence.depth=1000,5000,20000 influence.seed=0,1,2",),
    "a sweep over n": (
        "repro sweep --method cg --method lissa data.num_train=1000,5000,20000 --out outputs/against-n",
    ),
}
"""Lines that start processes, which read files of MNIST's true image size; slow."""

REAL: dict[str, tuple[str, ...]] = {
    "also in miniature": (
        "repro train",
        "repro influence --method lissa",
        "repro retrain --gpus 4",
        "repro plot",
        "repro run --method cg --method lissa",
    ),
    "the paper's CNN": (
        "repro run --method cg experiment=figure2_cnn data.num_train=300 fit.steps=60 "
        "fit.learning_rate=0.003 fit.batch_size=50 influence.damping=1 retrain.steps=6 top_k=5",
    ),
}
"""What runs on the real MNIST, where there is one; the CNN's test point 6558 is in no miniature. Slow."""

EXIT_CODES = {
    "repro diagnose experiment=report": 1,
    "repro diagnose": None,
    "repro diagnose data=digits": None,
    "repro diagnose data=digits --method cg": None,
}
"""Where it is not 0; None: 0 or 1, as the line is not printed for its verdict on this small problem."""

PREPARED = frozenset({"repro influence --method cg 'test_index=[8,33,46]'", "repro retrain removals=all"})
"""Lines above that are printed nowhere: what a later one needs."""

FILLED = {
    "repro COMMAND --help": "repro sweep --help",
    "repro STAGE [OPTIONS] [KEY=VALUE ...]": "repro config --method cg data=digits model.l2=0.1",
    "repro check FOLDER": "repro check outputs/demo",
    "repro check RUN_FOLDER": "repro check outputs/demo",
    "repro config KEY=VALUE …": "repro config --method cg data=digits model.l2=0.1",
}
"""Words that a reader fills in, and a line that the tests run with the words filled in."""

NAMES = frozenset(
    {
        "repro check",
        "repro export-model",
        "repro ground-truth",
        "repro influence",
        "repro lds",
        "repro run",
        "repro score",
        "repro sweep",
    }
)
"""Commands that a sentence names, without the words that make a line of them: their --help answers."""

HERE = "tests/test_printed_commands.py"
SCORE = "tests/test_score_command.py"
ELSEWHERE = {
    "repro run experiment=figure2": (
        "tests/test_network_runs.py::test_figure2_draws_three_panels_from_two_run_folders"
    ),
    "repro run experiment=groups2019": "tests/test_groups.py::test_the_study_of_2019_in_miniature",
    'export REPRO_CONFIG_DIR="$PWD/examples"': "tests/test_extending.py::outputs",
    "python -m release.configuration_page > docs/configuration.md": (
        f"{HERE}::test_the_page_of_the_configuration_is_written"
    ),
    "python -m release.file_page > docs/files.md": "tests/test_arrows.py::test_the_page_of_files_is_current",
    "repro score scores.npy --against outputs/demo": f"{SCORE}::test_the_examples_of_the_help",
    "repro score scores.npy --against truth.parquet": f"{SCORE}::test_the_examples_of_the_help",
    "repro score first.npy second.npy --into outputs/demo": f"{SCORE}::test_the_examples_of_the_help",
    "python -m cli": f"{HERE}::test_the_package_is_the_program",
    "repro run --method cg experiment=figure2_cnn": (
        "tests/test_continued.py::test_the_papers_experiment_is_composed"
    ),
    "repro --help": "tests/test_help.py::test_every_example_can_be_copied_off_the_screen",
    "repro --version": "tests/test_slips.py::test_what_is_named_in_place_of_other_programs_words_is_there",
    "repro sweep --help": "tests/test_help.py::test_every_example_can_be_copied_off_the_screen",
}
"""Lines that a test of their own runs."""

BY_START = {
    "make ": f"{HERE}::test_make_knows_the_target",
    "python -m benchmarks.": f"{HERE}::test_a_benchmark_takes_the_line",
    "torchrun ": "tests/test_two_nodes.py",
}
"""What tests run that read the lines themselves off the pages, by how the lines start."""

PAGES = {
    "docs/extending.md": "tests/test_extending.py::outputs",
    "docs/python.md": "tests/test_python_page.py::page",
    "docs/score.md": "tests/test_score_command.py::test_the_page_runs_from_top_to_bottom",
    "docs/ground-truth.md": f"{HERE}::test_the_page_of_the_ground_truth_runs_from_top_to_bottom",
}
"""Pages whose blocks a test runs from top to bottom."""

REMEDIES = "tests/test_remedies.py"
MESSAGES = {
    ("repro train {}", "repro/model_file.py #1"): f"{REMEDIES}::test_a_stage_before_training",
    ("repro train {}", "repro/model_file.py #2"): f"{REMEDIES}::test_a_damaged_model",
    ("repro influence {}", "repro/predictions.py #1"): f"{REMEDIES}::test_a_stage_before_influence",
    ("repro influence {}", "repro/predictions.py #2"): f"{REMEDIES}::test_predictions_of_another_test_point",
    ("repro influence {}", "repro/predictions.py #3"): f"{REMEDIES}::test_predictions_with_other_settings",
    ("repro influence {}", "repro/agreement.py #1"): f"{REMEDIES}::test_predictions_that_are_old",
    ("repro influence {}", "repro/agreement.py #2"): (
        "tests/test_removal_methods.py::test_what_is_not_certified_is_not_corrected_and_that_is_said"
    ),
    ("repro influence {}", "repro/group_agreement.py #1"): (
        "tests/test_removal_methods.py::test_groups_that_a_method_has_not_predicted_are_left_out_with_the_command"
    ),
    ("repro report {}", "repro/stages/plot.py #1"): f"{REMEDIES}::test_a_page_that_is_old",
    ("repro retrain {}", "repro/stages/ground_truth.py #3"): f"{REMEDIES}::test_truth_before_retraining",
    ("repro retrain {}", "repro/agreement.py #1"): f"{REMEDIES}::test_a_figure_before_retraining",
    ("repro retrain {}", "repro/stages/ground_truth.py #1"): (
        f"{REMEDIES}::test_truth_of_groups_before_they_are_retrained"
    ),
    ("repro retrain {}", "repro/stages/ground_truth.py #2"): f"{REMEDIES}::test_dattri_before_retraining",
    ("repro {}", "repro/folder/checked_files.py #1"): (
        "tests/test_lds.py::test_damaged_scores_are_made_again_by_the_command_that_check_names"
    ),
    ("repro run {}", "repro/diagnosing/panels.py #1"): (
        f"{REMEDIES}::test_a_diagnosis_of_groups_by_a_method_that_has_not_predicted_them"
    ),
    ("repro {}", "repro/configuration/compose.py #1"): f"{REMEDIES}::test_a_stage_before_training",
    ("repro {}", "repro/page/other.py #1"): (
        "tests/test_group_page.py::test_each_page_names_the_command_that_shows_the_other"
    ),
    ("repro {}", "repro/page/commands.py #1"): (
        "tests/test_report_making.py::test_the_commands_make_the_same_table_again"
    ),
}
"""Lines that the program completes, by the place in the code, and the test that reads and runs one."""

EXEMPT = {
    "pip install -c constraints.txt -e .": "changes the environment that the tests run in",
    "python -m build -q": "makes dist/; a step of the workflow",
    "python -m venv .venv-wheel": "makes an environment; a step of the workflow",
    "python -m release.container Containerfile": "makes an environment; a step of the workflow",
    "python -m release.recording docs/first_run.svg": "writes a page; a test compares it with a run",
    "python -m release.workflow .github/workflows/ci.yml": "the tests are one of its steps",
}
"""Lines that no test runs, each with the reason."""
