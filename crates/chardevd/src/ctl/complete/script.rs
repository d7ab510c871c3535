//! `chardevctl completions`: what a shell reads to complete our command lines.

use clap::ValueEnum;
use clap_complete::env::{EnvCompleter, Fish};

use super::ASKS;
use crate::ctl::commands::print_bytes;
use crate::ctl::failure::Failure;

/// Bash takes words apart at '=' and ':', which are within ours. They are put together again, and
/// of what completes them only the end is given back.
const BASH: &str = r#"_chardevctl() {
    local IFS=$'\013' rest=$COMP_LINE index=0 i word cut
    local words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ${#words[@]} -eq 0 || $rest == [[:space:]]* || -z $rest ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("$word")
        else
            words[${#words[@]}-1]+=$word
        fi
        rest=${rest#"$word"}
    done
    index=$((${#words[@]} - 1))
    COMPREPLY=($(
        _CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$index" ASKS=bash \
            "${COMP_WORDS[0]}" -- "${words[@]}" 2>/dev/null
    ))
    word=${words[index]}
    cut=${word%"${word##*[=:]}"}
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:,] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -F _chardevctl chardevctl
"#;

/// What goes on, such as `path=`, is not followed by a blank. Options have a tag of their own, so
/// that they are offered where nothing else is.
const ZSH: &str = r#"#compdef chardevctl
_chardevctl() {
    local one value
    local -a all ended open folders options
    all=("${(@f)$(
        _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((CURRENT - 1)) ASKS=zsh \
            "${words[1]}" -- "${words[@]}" 2>/dev/null
    )}")
    for one in $all; do
        value=${one%%:*}
        case $value in
            */) folders+=("${value%/}${one#"$value"}") ;;
            *[=,]) open+=("$one") ;;
            -*) options+=("$one") ;;
            *) ended+=("$one") ;;
        esac
    done
    (($#folders)) && _describe -V values folders -S / -r /
    (($#open)) && _describe -V values open -S ''
    (($#ended)) && _describe -V values ended
    (($#options)) && _describe -V -t options options options
    (($#all))
}
compdef _chardevctl chardevctl
"#;

/// Prints a script for a shell, which then completes what is typed after chardevctl
///
/// For bash, add this to ~/.bashrc: source <(chardevctl completions bash)
/// For zsh, to ~/.zshrc: source <(chardevctl completions zsh)
/// For fish: chardevctl completions fish > ~/.config/fish/completions/chardevctl.fish
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::ctl) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub(in crate::ctl) fn run(args: &Args) -> Result<(), Failure> {
    let name = "chardevctl";
    let mut script = Vec::new();
    let written = match args.shell {
        Shell::Bash => {
            script.extend_from_slice(BASH.replace("ASKS", ASKS).as_bytes());
            Ok(())
        }
        Shell::Zsh => {
            script.extend_from_slice(ZSH.replace("ASKS", ASKS).as_bytes());
            Ok(())
        }
        Shell::Fish => Fish.write_registration(ASKS, name, name, name, &mut script),
    };
    written.map_err(|error| format!("no script: {error}"))?;
    print_bytes(&script).map(drop)
}
