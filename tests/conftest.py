pytest_plugins = ["aiida.tools.pytest_fixtures", "tests.fixtures", "tests.vasp.fixtures", "tests.statistics_plugin"]
