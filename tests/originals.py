"""The options of the originals as their own documentation lists them, by the page that must name each.

CMU OpenPose: doc/advanced/demo_advanced.md, "All Flags". AlphaPose: docs/run.md and docs/GETTING_STARTED.md.
OpenPifPaf: the `--help` of `predict` and `video` in its guide, without the sections about training. MoveNet: TensorFlow
Hub's tutorial, and the README of MoveNet and the tracker's page in the TensorFlow.js package pose-detection.
"""

_OPENPOSE = """
logging_level disable_multi_thread profile_speed camera camera_resolution video image_dir flir_camera flir_camera_index
ip_camera frame_first frame_step frame_last frame_flip frame_rotate frames_repeat process_real_time
camera_parameter_path frame_undistort model_folder prototxt_path caffemodel_path output_resolution num_gpu num_gpu_start
keypoint_scale number_people_max maximize_positives fps_max body model_pose net_resolution net_resolution_dynamic
scale_number scale_gap upsampling_ratio heatmaps_add_parts heatmaps_add_bkg heatmaps_add_PAFs heatmaps_scale
part_candidates face face_detector face_net_resolution hand hand_detector hand_net_resolution hand_scale_number
hand_scale_range 3d 3d_min_views 3d_views identification tracking ik_threads part_to_show disable_blending
render_threshold render_pose alpha_pose alpha_heatmap face_render_threshold face_render face_alpha_pose
face_alpha_heatmap hand_render_threshold hand_render hand_alpha_pose hand_alpha_heatmap fullscreen no_gui_verbose
display cli_verbose write_images write_images_format write_video write_video_fps write_video_with_audio write_video_3d
write_video_adam write_json write_coco_json write_coco_json_variants write_coco_json_variant write_heatmaps
write_heatmaps_format write_keypoint write_keypoint_format write_bvh udp_host udp_port
"""
_ALPHAPOSE = """
cfg checkpoint sp detector indir list image video webcam outdir vis save_img save_video vis_fast format detbatch
posebatch flip min_box_area gpus pose_track pose_flow CONFIDENCE NMS_THRES INP_DIM
"""
_OPENPIFPAF = """
glob image-output json-output batch-size long-edge loader-workers disable-cuda decoder seed-threshold instance-threshold
decoder-workers caf-seeds profile-decoder cif-th caf-th force-complete-pose force-complete-caf-th
nms-before-force-complete keypoint-threshold keypoint-threshold-rel greedy connection-method dense-connections
no-reverse-match ablation-cifseeds-nms ablation-cifseeds-no-rescore ablation-caf-no-rescore ablation-independent-kp
quiet debug log-stats checkpoint basenet no-download-progress save-all show image-width image-height image-dpi-factor
image-min-dpi show-file-extension textbox-alpha text-color font-size monocolor-connections line-width
skeleton-solid-threshold show-box white-overlay show-joint-scales show-joint-confidences show-decoding-order
show-frontier-order show-only-decoded-connections video-fps video-dpi debug-indices source video-output
separate-debug-ax
"""
_MOVENET = """
model_name input_size keypoint_threshold crop_region output_image_height MIN_CROP_KEYPOINT_SCORE init_crop_region
determine_crop_region run_inference draw_prediction_on_image to_gif modelType enableSmoothing modelUrl minPoseScore
multiPoseMaxDimension enableTracking trackerType trackerConfig maxTracks maxAge minSimilarity keypointTrackerParams
boundingBoxTrackerParams estimatePoses maxPoses flipHorizontal timestamp keypointsToNormalizedKeypoints
"""
ORIGINALS = {
    "from-openpose": _OPENPOSE.split(),
    "from-alphapose": _ALPHAPOSE.split(),
    "from-openpifpaf": _OPENPIFPAF.split(),
    "from-movenet": _MOVENET.split(),
}
"""Page -> names of options, without dashes."""
