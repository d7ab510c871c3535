//! The command-line options that `query-command-line-options` lists besides `chardev`.

use chardev_monitor::CommandLineOption;

/// Each with its keys.
pub(crate) const OPTIONS: &[CommandLineOption] = &[
    CommandLineOption {
        name: "mon",
        keys: &[
            ("pretty", "boolean", ""),
            ("chardev", "string", ""),
            ("mode", "string", ""),
        ],
    },
    CommandLineOption {
        name: "add-fd",
        keys: &[
            (
                "opaque",
                "string",
                "what query-fdsets reports about the descriptor",
            ),
            ("set", "number", "the set to add the descriptor to"),
            ("fd", "number", "the number of an inherited descriptor"),
        ],
    },
    CommandLineOption {
        name: "name",
        keys: &[
            ("debug-threads", "boolean", "accepted and ignored"),
            ("process", "string", "accepted and ignored"),
            ("guest", "string", "the name that query-name reports"),
        ],
    },
];
