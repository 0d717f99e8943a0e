#!/bin/sh
# Builds, boots and publishes the image of a profile, on any machine with a shell: for a timer, a hook, or the CI of your
# choice. Run it in the folder with profiles/ and keys/.
#
#   builder/docs/ci.sh PROFILE FOLDER
# FOLDER is served by a web server, for example the one from which nodes fetch their updates. It receives
# PROFILE-VERSION.bundle and the image, but only after they have been verified and booted.
set -eu

profile=${1:?usage: ci.sh PROFILE FOLDER}
folder=${2:?usage: ci.sh PROFILE FOLDER}

microdc doctor
microdc build "$profile" --locked
microdc verify "out/$profile.img"
microdc boot "out/$profile.img" --node "profiles/$profile.node.toml" --until-healthy --within 600

mkdir -p "$folder"
work=$(mktemp -d "$folder/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
bundle=$(microdc bundle "out/$profile.img" --json | sed -n 's/^ *"bundle": "\(.*\)",*$/\1/p')
cp "$bundle" "$work/"
cp --sparse=always "out/$profile.img" "$work/$profile.img"
(cd "$work" && sha256sum ./*.bundle ./*.img >"$profile.sha256")
# Renames on one file system: a reader sees the old file or the new one.
mv "$work"/*.bundle "$work"/*.img "$work"/*.sha256 "$folder/"
echo "published: $folder/$(basename "$bundle")"
