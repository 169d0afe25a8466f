#!/usr/bin/env bash
# Tests the plugin in a real QGIS without a display: packs it, installs the zip into a new profile, runs
# every algorithm by qgis_process and from Python, and looks at the results with rasterio.
#
#   bash integrations/qgis/test.sh
#
# It installs nothing. It needs qgis_process and QGIS's Python modules (on Debian: qgis, python3-qgis), and an
# environment with KSDiff and rasterio:
#   KSDIFF       its command                       (default: ksdiff on PATH)
#   PYTHON       its Python                        (default: python beside that command)
#   QGIS_PYTHON  the Python of QGIS                (default: /usr/bin/python3)
#   QGIS_PLUGINS the folder of QGIS's own plugins  (default: /usr/share/qgis/python/plugins)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

need() { command -v "$1" >/dev/null || { echo "test.sh: $2" >&2; exit 2; }; }
# Debian's wrapper script passes options of the desktop program, which qgis_process does not know.
QGIS_PROCESS=$(command -v qgis_process.bin || command -v qgis_process || true)
need "${QGIS_PROCESS:-qgis_process}" "there is no qgis_process; install QGIS (on Debian: qgis, python3-qgis)"
KSDIFF=$(command -v "${KSDIFF:-ksdiff}" || true)
need "${KSDIFF:-ksdiff}" "there is no command ksdiff; name it by KSDIFF=..."
PYTHON=${PYTHON:-$(dirname "$KSDIFF")/python}
need "$PYTHON" "there is no $PYTHON; name a Python that has KSDiff by PYTHON=..."
QGIS_PYTHON=${QGIS_PYTHON:-/usr/bin/python3}
QGIS_PLUGINS=${QGIS_PLUGINS:-/usr/share/qgis/python/plugins}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export QT_QPA_PLATFORM=offscreen QGIS_CUSTOM_CONFIG_PATH=$work/profile XDG_RUNTIME_DIR=$work HOME=$work/home
plugins=$work/profile/profiles/default/python/plugins
settings=$work/profile/profiles/default/QGIS/QGIS3.ini
mkdir -p "$plugins" "$(dirname "$settings")" "$HOME" "$work/scenes"

passed=0
say() { printf '\n== %s\n' "$1"; }
pass() { passed=$((passed + 1)); echo "ok: $1"; }
fail() { echo "FAILED: $1" >&2; cat "$work/log" >&2; exit 1; }
# The first python3 on PATH tells the Python in QGIS where its modules are. The command is not on it: that it is
# missing is tried, too.
export PATH=$(dirname "$QGIS_PYTHON"):/usr/bin:/bin
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH
# What QGIS has on its path must not reach the command, which would end here.
mkdir "$work/foreign" && echo 'raise SystemExit("a module of QGIS")' >"$work/foreign/torch.py"
# qgis_process with what it writes in $work/log.
qgis() { PYTHONPATH=$work/foreign "$QGIS_PROCESS" "$@" >"$work/log" 2>&1; }
succeeds() { local name=$1; shift; qgis run "$@" || fail "$name"; echo; sed -n '/ksdiff.* --progress json$/,$p' "$work/log"; pass "$name"; }
fails() {
  local name=$1 words=$2; shift 2
  if qgis run "$@"; then fail "$name: it succeeded"; fi
  grep -q -- "$words" "$work/log" || fail "$name: it does not say '$words'"
  echo "  $(grep -m1 -- "$words" "$work/log")"
  pass "$name"
}
holds() { (cd "$root" && env -u QT_QPA_PLATFORM "$PYTHON" "$here/check_raster.py" "$@") || fail "check_raster.py $*"; }

say "scenes"
"$KSDIFF" simulate --out "$work/scenes" --name a --size 256 --seed 1 >/dev/null
"$KSDIFF" simulate --out "$work/scenes" --name b --size 256 --seed 2 >/dev/null
"$KSDIFF" simulate --out "$work" --name large --size 1536 >/dev/null
product=$(cd "$root" && "$PYTHON" -c 'import sys, pathlib
from tests.support.products import landsat
print(landsat(pathlib.Path(sys.argv[1])))' "$work")
pan=$work/scenes/a_pan.tif ms=$work/scenes/a_ms.tif
ls "$work/scenes"

say "the zip, installed and enabled"
zip=$("$PYTHON" "$here/package.py" --out "$work")
"$PYTHON" -m zipfile -e "$zip" "$plugins"
qgis plugins enable ksdiff || fail "plugins enable ksdiff"
qgis plugins || fail "plugins"
grep -q '^\* ksdiff$' "$work/log" || fail "the plugin is not loaded"
qgis list || fail "list"
for name in sharpen sharpenproduct evaluate batch; do
  grep "ksdiff:$name	" "$work/log" || fail "there is no ksdiff:$name"
done
pass "plugin and its algorithms are listed"

say "no command"
fails "a missing command is told with what to do" "ksdiff/command" \
  ksdiff:sharpen -- PAN="$pan" MS="$ms" OUTPUT="$work/none.tif"
printf '\n[Processing]\nConfiguration\\ksdiff\\command=%s\n' "$work/no" >>"$settings"
fails "a wrong command is told" "$work/no is neither the command ksdiff nor the folder" \
  ksdiff:sharpen -- PAN="$pan" MS="$ms" OUTPUT="$work/none.tif"
sed -i "s|^Configuration.*|Configuration\\\\ksdiff\\\\command=$KSDIFF|" "$settings"

say "ksdiff:sharpen"
succeeds "a pair, with a report" ksdiff:sharpen -- PAN="$pan" MS="$ms" OUTPUT="$work/fused.tif" REPORT="$work/report.html"
holds "$work/fused.tif" --like "$pan" --bands blue,green,red,nir --dtype uint16
head -c 15 "$work/report.html" | grep -qi '<!doctype html>' || fail "the report is no page"
"$KSDIFF" sharpen "$pan" "$ms" "$work/direct.tif" --quiet
holds "$work/fused.tif" --same "$work/direct.tif"
pass "pixels are those of the command"
succeeds "bands, method, data type and creation options" ksdiff:sharpen -- PAN="$pan" MS="$ms" BANDS=3 BANDS=2 \
  METHOD=gsa DTYPE=float32 CREATION_OPTIONS='COMPRESS=LZW|PREDICTOR=3' OUTPUT="$work/bands.tif"
holds "$work/bands.tif" --like "$pan" --bands red,green --dtype float32 --compress lzw
succeeds "an extent" ksdiff:sharpen -- PAN="$pan" MS="$ms" METHOD=exp AREA="500020,500080,5399930,5399990" OUTPUT="$work/part.tif"
holds "$work/part.tif" --part-of "$pan" --covers 500020,5399930,500080,5399990

say "ksdiff:sharpenproduct"
succeeds "a Landsat folder" ksdiff:sharpenproduct -- FOLDER="$product" METHOD=brovey BANDS=4,3,2 OUTPUT="$work/product.tif"
holds "$work/product.tif" --bands red,green,blue --dtype uint16

say "ksdiff:evaluate"
succeeds "two methods on two scenes" ksdiff:evaluate -- FOLDER="$work/scenes" METHODS=exp METHODS=gsa TABLE="$work/scores.csv"
[ "$(grep -c '^[ab],' "$work/scores.csv")" = 4 ] || fail "scores.csv has other rows"

say "ksdiff:batch"
succeeds "a folder" ksdiff:batch -- FOLDER="$work/scenes" METHOD=exp OUTPUT="$work/batch"
for name in a b; do holds "$work/batch/$name.tif" --like "$work/scenes/${name}_pan.tif" --dtype uint16; done
succeeds "the same again does nothing" ksdiff:batch -- FOLDER="$work/scenes" METHOD=exp OUTPUT="$work/batch"
grep -q "0 scenes sharpened, 2 existed already" "$work/log" || fail "scenes were done again"
cp "$pan" "$work/scenes/c_pan.tif"; printf x >"$work/scenes/c_ms.tif"
fails "a broken scene is named" "1 of 3 scenes failed" ksdiff:batch -- FOLDER="$work/scenes" METHOD=exp OUTPUT="$work/batch"
rm "$work"/scenes/c_*

say "bad input"
fails "an existing output" "fused.tif exists already; choose another name or tick 'Replace existing output'" \
  ksdiff:sharpen -- PAN="$pan" MS="$ms" OUTPUT="$work/fused.tif"
succeeds "an existing output that may be replaced" ksdiff:sharpen -- PAN="$pan" MS="$ms" METHOD=exp OUTPUT="$work/fused.tif" OVERWRITE=true
fails "a file that is not there" "Could not load source layer for MS" ksdiff:sharpen -- PAN="$pan" MS="$work/gone.tif" OUTPUT="$work/none.tif"
fails "an error of the command" "there is no folder" ksdiff:sharpen -- PAN="$pan" MS="$ms" OUTPUT="$work/no/none.tif"
fails "an extent beside PAN" "is beside" ksdiff:sharpen -- PAN="$pan" MS="$ms" AREA="0,1,0,1" OUTPUT="$work/none.tif"
fails "neither folder nor file" "give either FOLDER or FILE; neither" ksdiff:sharpenproduct -- OUTPUT="$work/none.tif"
[ ! -e "$work/none.tif" ] || fail "a failed call has left an output"

say "in a QGIS with a project: layers, true colours, threads, cancelling"
(cd "$work" && PYTHONPATH=$QGIS_PLUGINS:$plugins:$work/foreign "$QGIS_PYTHON" - "$work" "$KSDIFF" <"$here/in_qgis.py" >log 2>&1) ||
  fail "in_qgis.py"
grep '^ok: ' "$work/log"
passed=$((passed + $(grep -c '^ok: ' "$work/log")))
fails "a layer of a project that is not a file" "MS: layer 'Map tiles' is not a file (wms)" \
  ksdiff:sharpen --PROJECT_PATH="$work/project.qgz" -- PAN="$pan" MS="Map tiles" OUTPUT="$work/none.tif"

printf '\n%d checks passed with %s\n' "$passed" "$("$QGIS_PROCESS" --version 2>/dev/null | grep -m1 '^QGIS')"
