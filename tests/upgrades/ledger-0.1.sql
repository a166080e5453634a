BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0.1');
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	order_id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	restart INTEGER NOT NULL, 
	generation INTEGER, 
	state VARCHAR NOT NULL, 
	cause VARCHAR, 
	exit_code INTEGER, 
	signal INTEGER, 
	node VARCHAR NOT NULL, 
	started_s DOUBLE, 
	ended_s DOUBLE, 
	first_step INTEGER, 
	step INTEGER NOT NULL, 
	detail VARCHAR NOT NULL, 
	result JSON, 
	settled BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name), 
	FOREIGN KEY(order_id) REFERENCES orders (id), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "attempts" VALUES(1,'job-0.0.1.0',1,1,0,NULL,'ended','completed',NULL,NULL,'cn1',1790000000.0,1790000003.0,NULL,40,'','{"cause": "completed", "step": 40}',0);
INSERT INTO "attempts" VALUES(2,'job-1.0.2.0',2,2,0,NULL,'ended','completed',NULL,NULL,'cn1',1790000000.0,1790000003.0,NULL,40,'','{"cause": "completed", "step": 40}',0);
INSERT INTO "attempts" VALUES(3,'job-2.0.3.0',3,3,0,NULL,'ended','completed',NULL,NULL,'cn1',1790000000.0,1790000003.0,NULL,40,'','{"cause": "completed", "step": 40}',0);
CREATE TABLE candidates (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	tree_digest VARCHAR NOT NULL, 
	recipe JSON NOT NULL, 
	recipe_digest VARCHAR NOT NULL, 
	origin VARCHAR NOT NULL, 
	parent INTEGER, 
	draw INTEGER, 
	is_stale BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (study_id, number), 
	FOREIGN KEY(study_id, tree_digest) REFERENCES trees (study_id, digest), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "candidates" VALUES(1,1,0,'9bc4a6557272','{"learning_rate": 0.001, "weight_decay": 0.01, "optimizer": "adamw", "momentum": 0.9, "dice_weight": 0.5, "focal": 0.0, "miss_weight": 0.5, "weighting": "classes", "class_balance": 0.0, "weight_floor": 0.01, "edge_weight": 0.882, "edge_sigma_vx": 6.0, "deep_supervision": 0.0, "augmentation": 1.0, "policy": {"mirror": 1.0, "affine": 1.0, "elastic": 1.0, "misalign": 1.0, "contrast": 1.0, "gamma": 1.0, "blur": 1.0, "noise": 1.0, "poisson": 1.0, "stripes": 1.0, "missing_section": 1.0, "missing_part": 1.0, "cutout": 1.0}, "batch_size": 4, "patch_zyx": [1, 256, 256], "schedule": "late", "warmup": 0.05, "decay": 0.3, "gradient_clip": 5.0, "ema_decay": 0.99}','122b3e1cd426','baseline',NULL,NULL,0);
INSERT INTO "candidates" VALUES(2,1,1,'f7c2915a20ca','{"learning_rate": 0.001, "weight_decay": 0.01, "optimizer": "adamw", "momentum": 0.9, "dice_weight": 0.5, "focal": 0.0, "miss_weight": 0.5, "weighting": "classes", "class_balance": 0.0, "weight_floor": 0.01, "edge_weight": 0.882, "edge_sigma_vx": 6.0, "deep_supervision": 0.0, "augmentation": 1.0, "policy": {"mirror": 1.0, "affine": 1.0, "elastic": 1.0, "misalign": 1.0, "contrast": 1.0, "gamma": 1.0, "blur": 1.0, "noise": 1.0, "poisson": 1.0, "stripes": 1.0, "missing_section": 1.0, "missing_part": 1.0, "cutout": 1.0}, "batch_size": 4, "patch_zyx": [1, 256, 256], "schedule": "late", "warmup": 0.05, "decay": 0.3, "gradient_clip": 5.0, "ema_decay": 0.99}','122b3e1cd426','random',NULL,NULL,0);
INSERT INTO "candidates" VALUES(3,1,2,'b8becd0915f8','{"learning_rate": 0.001, "weight_decay": 0.01, "optimizer": "adamw", "momentum": 0.9, "dice_weight": 0.5, "focal": 0.0, "miss_weight": 0.5, "weighting": "classes", "class_balance": 0.0, "weight_floor": 0.01, "edge_weight": 0.882, "edge_sigma_vx": 6.0, "deep_supervision": 0.0, "augmentation": 1.0, "policy": {"mirror": 1.0, "affine": 1.0, "elastic": 1.0, "misalign": 1.0, "contrast": 1.0, "gamma": 1.0, "blur": 1.0, "noise": 1.0, "poisson": 1.0, "stripes": 1.0, "missing_section": 1.0, "missing_part": 1.0, "cutout": 1.0}, "batch_size": 4, "patch_zyx": [1, 256, 256], "schedule": "late", "warmup": 0.05, "decay": 0.3, "gradient_clip": 5.0, "ema_decay": 0.99}','122b3e1cd426','random',NULL,NULL,0);
CREATE TABLE class_scores (
	evaluation_id INTEGER NOT NULL, 
	class_number INTEGER NOT NULL, 
	iou DOUBLE, 
	PRIMARY KEY (evaluation_id, class_number), 
	FOREIGN KEY(evaluation_id) REFERENCES evaluations (id)
);
INSERT INTO "class_scores" VALUES(1,0,0.5);
INSERT INTO "class_scores" VALUES(1,1,0.5);
INSERT INTO "class_scores" VALUES(1,2,NULL);
INSERT INTO "class_scores" VALUES(2,0,0.5);
INSERT INTO "class_scores" VALUES(2,1,0.5);
INSERT INTO "class_scores" VALUES(2,2,NULL);
INSERT INTO "class_scores" VALUES(3,0,0.5);
INSERT INTO "class_scores" VALUES(3,1,0.5);
INSERT INTO "class_scores" VALUES(3,2,NULL);
INSERT INTO "class_scores" VALUES(4,0,0.5);
INSERT INTO "class_scores" VALUES(4,1,0.5);
INSERT INTO "class_scores" VALUES(4,2,NULL);
INSERT INTO "class_scores" VALUES(5,0,0.7);
INSERT INTO "class_scores" VALUES(5,1,0.7);
INSERT INTO "class_scores" VALUES(5,2,NULL);
INSERT INTO "class_scores" VALUES(6,0,0.7);
INSERT INTO "class_scores" VALUES(6,1,0.7);
INSERT INTO "class_scores" VALUES(6,2,NULL);
CREATE TABLE commands (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	study_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	asked_s DOUBLE NOT NULL, 
	"values" JSON NOT NULL, 
	taken_s DOUBLE NOT NULL, 
	refused VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	at_s DOUBLE NOT NULL, 
	kind VARCHAR NOT NULL, 
	facts JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
CREATE TABLE ensembles (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	method VARCHAR NOT NULL, 
	validation JSON, 
	test JSON, 
	facts JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (study_id, name), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
CREATE TABLE evaluations (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	mean_iou DOUBLE NOT NULL, 
	mean_iou_foreground DOUBLE NOT NULL, 
	accuracy DOUBLE NOT NULL, 
	loss DOUBLE, 
	train_s DOUBLE NOT NULL, 
	at_s DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (id)
);
INSERT INTO "evaluations" VALUES(1,1,10,0.5,0.5,0.5,1.0,2.5,1790000001.0);
INSERT INTO "evaluations" VALUES(2,1,40,0.5,0.5,0.5,1.0,2.5,1790000002.0);
INSERT INTO "evaluations" VALUES(3,2,10,0.5,0.5,0.5,1.0,2.5,1790000001.0);
INSERT INTO "evaluations" VALUES(4,2,40,0.5,0.5,0.5,1.0,2.5,1790000002.0);
INSERT INTO "evaluations" VALUES(5,3,10,0.7,0.7,0.7,1.0,2.5,1790000001.0);
INSERT INTO "evaluations" VALUES(6,3,40,0.7,0.7,0.7,1.0,2.5,1790000002.0);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	study_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	at_s DOUBLE NOT NULL, 
	facts JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "events" VALUES(1,'job-0.0.1.0.000000.json',1,'started',1790000000.0,'{"node": "cn1", "pid": 1}');
INSERT INTO "events" VALUES(2,'job-0.0.1.0.000001.json',1,'evaluated',1790000001.0,'{"step": 10, "score": {"split": "validation", "iou_K": [0.5, 0.5, null], "mean_iou": 0.5, "mean_iou_foreground": 0.5, "accuracy": 0.5, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(3,'job-0.0.1.0.000002.json',1,'evaluated',1790000002.0,'{"step": 40, "score": {"split": "validation", "iou_K": [0.5, 0.5, null], "mean_iou": 0.5, "mean_iou_foreground": 0.5, "accuracy": 0.5, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(4,'job-0.0.1.0.000003.json',1,'ended',1790000003.0,'{"cause": "completed", "step": 40}');
INSERT INTO "events" VALUES(5,'job-1.0.2.0.000000.json',1,'started',1790000000.0,'{"node": "cn1", "pid": 1}');
INSERT INTO "events" VALUES(6,'job-1.0.2.0.000001.json',1,'evaluated',1790000001.0,'{"step": 10, "score": {"split": "validation", "iou_K": [0.5, 0.5, null], "mean_iou": 0.5, "mean_iou_foreground": 0.5, "accuracy": 0.5, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(7,'job-1.0.2.0.000002.json',1,'evaluated',1790000002.0,'{"step": 40, "score": {"split": "validation", "iou_K": [0.5, 0.5, null], "mean_iou": 0.5, "mean_iou_foreground": 0.5, "accuracy": 0.5, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(8,'job-1.0.2.0.000003.json',1,'ended',1790000003.0,'{"cause": "completed", "step": 40}');
INSERT INTO "events" VALUES(9,'job-2.0.3.0.000000.json',1,'started',1790000000.0,'{"node": "cn1", "pid": 1}');
INSERT INTO "events" VALUES(10,'job-2.0.3.0.000001.json',1,'evaluated',1790000001.0,'{"step": 10, "score": {"split": "validation", "iou_K": [0.7, 0.7, null], "mean_iou": 0.7, "mean_iou_foreground": 0.7, "accuracy": 0.7, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(11,'job-2.0.3.0.000002.json',1,'evaluated',1790000002.0,'{"step": 40, "score": {"split": "validation", "iou_K": [0.7, 0.7, null], "mean_iou": 0.7, "mean_iou_foreground": 0.7, "accuracy": 0.7, "voxels": 7}, "loss": 1.0, "train_s": 2.5}');
INSERT INTO "events" VALUES(12,'job-2.0.3.0.000003.json',1,'ended',1790000003.0,'{"cause": "completed", "step": 40}');
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	token VARCHAR NOT NULL, 
	task INTEGER NOT NULL, 
	handle VARCHAR, 
	restarts INTEGER NOT NULL, 
	created_s DOUBLE NOT NULL, 
	stopped_s DOUBLE, 
	ended_s DOUBLE, 
	gpus DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (token, task), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "jobs" VALUES(1,1,'job-0',0,NULL,0,5.0,NULL,NULL,0.0);
INSERT INTO "jobs" VALUES(2,1,'job-1',0,NULL,0,5.0,NULL,NULL,0.0);
INSERT INTO "jobs" VALUES(3,1,'job-2',0,NULL,0,5.0,NULL,NULL,0.0);
CREATE TABLE members (
	ensemble_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	weight DOUBLE NOT NULL, 
	PRIMARY KEY (ensemble_id, trial_id), 
	FOREIGN KEY(ensemble_id) REFERENCES ensembles (id), 
	FOREIGN KEY(trial_id) REFERENCES trials (id)
);
CREATE TABLE orders (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	trial_id INTEGER, 
	until_step INTEGER, 
	part_of INTEGER, 
	task JSON, 
	state VARCHAR NOT NULL, 
	expected_s DOUBLE NOT NULL, 
	memory_gb DOUBLE NOT NULL, 
	memory_factor DOUBLE NOT NULL, 
	micro_batch INTEGER, 
	avoid VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study_id) REFERENCES studies (id), 
	FOREIGN KEY(trial_id) REFERENCES trials (id), 
	FOREIGN KEY(part_of) REFERENCES orders (id)
);
INSERT INTO "orders" VALUES(1,1,'train',1,40,NULL,NULL,'running',1.0,0.0,1.0,NULL,'','');
INSERT INTO "orders" VALUES(2,1,'train',2,40,NULL,NULL,'running',1.0,0.0,1.0,NULL,'','');
INSERT INTO "orders" VALUES(3,1,'train',3,40,NULL,NULL,'running',1.0,0.0,1.0,NULL,'','');
CREATE TABLE rankings (
	candidate_id INTEGER NOT NULL, 
	measure VARCHAR NOT NULL, 
	study_id INTEGER NOT NULL, 
	precedence INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	value DOUBLE, 
	score DOUBLE, 
	score_low DOUBLE, 
	score_high DOUBLE, 
	best DOUBLE, 
	failure_rate DOUBLE, 
	trials INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	at_s DOUBLE, 
	PRIMARY KEY (candidate_id, measure), 
	FOREIGN KEY(candidate_id) REFERENCES candidates (id), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "rankings" VALUES(1,'accuracy',1,0,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(1,'iou_0',1,0,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(1,'mean_iou',1,0,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(1,'iou_1',1,0,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(1,'mean_iou_foreground',1,0,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(2,'accuracy',1,-1,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(2,'iou_0',1,-1,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(2,'mean_iou',1,-1,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(2,'iou_1',1,-1,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(2,'mean_iou_foreground',1,-1,40,5.29282743591802939953e-01,5.49374140738822736018e-01,3.91713663589164373668e-01,7.07034617888481098368e-01,2.19156719519940396123e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(3,'accuracy',1,-2,40,5.79263084244965420488e-01,6.01251718522354372531e-01,0.443591241372696,7.58912195672012734881e-01,5.61686560960119152241e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(3,'iou_0',1,-2,40,5.79263084244965420488e-01,6.01251718522354372531e-01,0.443591241372696,7.58912195672012734881e-01,5.61686560960119152241e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(3,'mean_iou',1,-2,40,5.79263084244965420488e-01,6.01251718522354372531e-01,0.443591241372696,7.58912195672012734881e-01,5.61686560960119152241e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(3,'iou_1',1,-2,40,5.79263084244965420488e-01,6.01251718522354372531e-01,0.443591241372696,7.58912195672012734881e-01,5.61686560960119152241e-01,3.65714285714285741724e-02,1,0,1790000002.0);
INSERT INTO "rankings" VALUES(3,'mean_iou_foreground',1,-2,40,5.79263084244965420488e-01,6.01251718522354372531e-01,0.443591241372696,7.58912195672012734881e-01,5.61686560960119152241e-01,3.65714285714285741724e-02,1,0,1790000002.0);
CREATE TABLE studies (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	folder VARCHAR NOT NULL, 
	seed INTEGER NOT NULL, 
	spec JSON NOT NULL, 
	dataset JSON, 
	version VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	created_s DOUBLE NOT NULL, 
	ended_s DOUBLE, 
	paused_why VARCHAR NOT NULL, 
	halted BOOLEAN NOT NULL, 
	resumed_s DOUBLE NOT NULL, 
	excluded VARCHAR NOT NULL, 
	waits_why VARCHAR NOT NULL, 
	holder VARCHAR NOT NULL, 
	held_since_s DOUBLE NOT NULL, 
	renewed_s DOUBLE NOT NULL, 
	ranked_s DOUBLE, 
	fence INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "studies" VALUES(1,'kept','',7,'{"study": {"name": "kept", "seed": 7, "database": ""}, "dataset": {"classes": ["background", "membrane"], "voxel_nm": [40.0, 10.0, 10.0], "volumes": [{"name": "", "image": "image.npy", "labels": "labels.npy", "train": "0:4", "validation": "4:6", "test": "6:8", "voxel_nm": null, "ignore_label": null, "annotated": []}], "ignore_label": null, "palette": []}, "space": {"families": ["encoder_decoder_2d"], "max_parameters": 60000, "max_memory_gb": 12.0, "max_step_s": null, "gflops": 10000.0, "gbytes_s": 300.0, "ranges": {}}, "training": {"batch_size": 2, "patch_zyx": [1, 64, 64], "optimizer": "adamw", "learning_rate": 0.001, "weight_decay": 0.01, "momentum": 0.9, "schedule": "late", "warmup": 0.05, "decay": 0.3, "gradient_clip": 5.0, "ema_decay": 0.99, "dice_weight": 0.5, "focal": 0.0, "miss_weight": 0.5, "weighting": "classes", "class_balance": 0.0, "weight_floor": 0.01, "edge_weight": 0.882, "edge_sigma_vx": 6.0, "deep_supervision": 0.0, "augmentation": 1.0, "policy": {}, "budget": "steps", "evaluations": 4, "checkpoint_every_s": 300.0, "keep_plateau": false, "compile": false, "device": "auto"}, "search": {"candidates": 6, "repeats": 2, "rungs": [10, 20, 40], "keep": 0.5, "policy": "halving", "goal": "best_networks", "trials": null, "gpu_hours": null, "wall_hours": null, "finalists": 3}, "tune": {"survivors": 2, "trials": 3, "batch": 2, "engine": "optuna", "at_once": null}, "ensemble": {"size": 3, "pool": 16, "methods": ["top_k", "greedy", "diverse"], "combine": ["mean", "majority"]}, "cluster": {"executor": "local", "profile": "generic", "sbatch": {}, "sbatch_cpu": {}, "max_jobs": 2, "threads": 1, "min_job_s": 0.0}}',NULL,'0.1.0','searching',1790000000.0,NULL,'',0,0.0,'','','',1.7955474671524503231e+09,1.79554746716168379784e+09,1.79554746727823686595e+09,1);
CREATE TABLE trees (
	study_id INTEGER NOT NULL, 
	digest VARCHAR NOT NULL, 
	family VARCHAR NOT NULL, 
	structure JSON NOT NULL, 
	parameters INTEGER NOT NULL, 
	flops INTEGER NOT NULL, 
	memory_gb DOUBLE NOT NULL, 
	step_s DOUBLE NOT NULL, 
	PRIMARY KEY (study_id, digest), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "trees" VALUES(1,'9bc4a6557272','encoder_decoder_2d','{"format": 1, "family": "encoder_decoder_2d", "root": {"kind": "convolution", "deltas": {"width": 0}}}',10,10,0.1,0.5);
INSERT INTO "trees" VALUES(1,'f7c2915a20ca','encoder_decoder_2d','{"format": 1, "family": "encoder_decoder_2d", "root": {"kind": "convolution", "deltas": {"width": 1}}}',10,10,0.1,0.5);
INSERT INTO "trees" VALUES(1,'b8becd0915f8','encoder_decoder_2d','{"format": 1, "family": "encoder_decoder_2d", "root": {"kind": "convolution", "deltas": {"width": 2}}}',10,10,0.1,0.5);
CREATE TABLE trials (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	candidate_id INTEGER NOT NULL, 
	repeat INTEGER NOT NULL, 
	seed INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	until_step INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	score DOUBLE, 
	weights VARCHAR, 
	cause VARCHAR, 
	detail VARCHAR NOT NULL, 
	train_s DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (candidate_id, repeat), 
	FOREIGN KEY(study_id) REFERENCES studies (id), 
	FOREIGN KEY(candidate_id) REFERENCES candidates (id)
);
INSERT INTO "trials" VALUES(1,1,1,0,0,'running',40,40,NULL,NULL,NULL,'',2.5);
INSERT INTO "trials" VALUES(2,1,2,0,1,'running',40,40,NULL,NULL,NULL,'',2.5);
INSERT INTO "trials" VALUES(3,1,3,0,2,'running',40,40,NULL,NULL,NULL,'',2.5);
CREATE INDEX ix_jobs_ended_s ON jobs (ended_s);
CREATE INDEX candidates_by_draw ON candidates (study_id, draw);
CREATE INDEX candidates_by_staleness ON candidates (study_id, is_stale);
CREATE INDEX trials_by_state ON trials (study_id, state, until_step);
CREATE INDEX ix_trials_candidate_id ON trials (candidate_id);
CREATE INDEX rankings_by_place ON rankings (study_id, measure, step, value, precedence);
CREATE INDEX orders_by_kind ON orders (study_id, kind);
CREATE INDEX ix_orders_part_of ON orders (part_of);
CREATE INDEX ix_orders_trial_id ON orders (trial_id);
CREATE INDEX orders_by_state ON orders (study_id, state, expected_s);
CREATE INDEX ix_evaluations_trial_id ON evaluations (trial_id);
CREATE INDEX ix_attempts_order_id ON attempts (order_id);
CREATE INDEX attempts_by_cause ON attempts (cause, node);
CREATE INDEX attempts_unsettled ON attempts (settled, state);
CREATE INDEX ix_attempts_job_id ON attempts (job_id);
CREATE INDEX ix_attempts_ended_s ON attempts (ended_s);
COMMIT;
