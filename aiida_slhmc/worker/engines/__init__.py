"""The engines that come with the package, each in a module that is imported when it is asked for."""
