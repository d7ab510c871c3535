Files named *.toml in this directory are read after chardevd.toml, by name: chardevd.toml(5).
