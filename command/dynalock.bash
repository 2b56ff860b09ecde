# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion of dynalock's command line in bash. It asks nobody: keys are not completed.

_dynalock_words() {
    # shellcheck disable=SC2207 # words without spaces
    COMPREPLY=($(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}"))
}

_dynalock_takes_argument() {
    case $1 in
    --table | --partition | --endpoint-url | --region | --profile) ;;
    --ttl | --wait | --poll | --holder | --value | --if-version | --conflict-exit-code | -E) ;;
    *) return 1 ;;
    esac
}

# What follows an option.
_dynalock_argument() {
    case $1 in
    --profile)
        _dynalock_words "$(sed -n 's/^\[\(profile \)\{0,1\}\([^] ]*\)\].*/\2/p' \
            "${AWS_CONFIG_FILE:-$HOME/.aws/config}" \
            "${AWS_SHARED_CREDENTIALS_FILE:-$HOME/.aws/credentials}" 2>/dev/null)"
        ;;
    --ttl | --wait) _dynalock_words '5s 20s 1m 5m 1h' ;;
    --poll) _dynalock_words '500ms 1s 3s' ;;
    esac
}

_dynalock_options() {
    case $1 in
    run) echo '--ttl --wait --try --poll --keep-record --holder --value -E --conflict-exit-code --' ;;
    put) echo '--ttl --no-expiry --if-absent --if-version --json-value --attribute-value' ;;
    rm) echo '--if-version' ;;
    locks) echo '--watch' ;;
    break) echo '--yes' ;;
    '') echo '--version' ;;
    esac
    echo '--table --partition --endpoint-url --region --profile --json --verbose --help'
}

_dynalock() {
    local word subcommand='' index skip=
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ -n $skip ]]; then
            skip=
        elif [[ $word == -- && $subcommand == run ]]; then
            if declare -F _command_offset >/dev/null; then
                _command_offset $((index + 1))
            else
                # shellcheck disable=SC2207
                COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
            fi
            return
        elif [[ $word == -* ]]; then
            _dynalock_takes_argument "$word" && skip=yes
        elif [[ -z $subcommand && $word != = ]]; then
            subcommand=$word
        fi
    done
    if [[ -n $skip ]]; then
        _dynalock_argument "${COMP_WORDS[COMP_CWORD - 1]}"
    elif [[ ${COMP_WORDS[COMP_CWORD]} == -* ]]; then
        _dynalock_words "$(_dynalock_options "$subcommand")"
    elif [[ -z $subcommand ]]; then
        _dynalock_words 'init run put get exists rm ls locks break doctor version'
    fi
}

complete -F _dynalock dynalock
