#!/usr/bin/env bash
# A folder of videos to arrays and OpenPose's JSON, going on where it broke off:  ./folder.sh VIDEOS RESULTS
set -euo pipefail
videos=$1 results=$2
status=0
posert infer nano "$videos" -o "$results" --format npz --format openpose --track --features --resume || status=$?
[ "$status" = 0 ] || [ "$status" = 3 ] # 3 = some videos are broken: the others are done
echo "$(grep -c '"status":"done"' "$results/manifest.jsonl") videos done, $(find "$results" -name '*_keypoints.json' | wc -l) frames as JSON"
exit "$status"
