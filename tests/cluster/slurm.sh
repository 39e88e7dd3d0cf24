#!/usr/bin/env bash
# A SLURM cluster of one node for tests, as root on Debian: tests/cluster/slurm.sh up | down | preempt-by {usr2,term}
#
# It has 8 CPUs, 4 GPUs that are only device files, accounting, and partitions `low` (jobs give way, after a grace of
# 20 s) and `high` (they take it). Exit code 3: it can not be had here, and the last line says why. A cluster that is
# not ours is never touched.
set -euo pipefail

readonly CPUS=8 GPUS=4 ETC=/etc/slurm MARK="# made by worldmodels tests/cluster/slurm.sh"
readonly PACKAGES="munge slurmctld slurmd slurm-client slurmdbd mariadb-server"

absent() { echo "no SLURM for tests: $*" >&2; exit 3; }

waits_for() { # waits_for <what> <command...>: until the command succeeds, 30 s at most
    local what=$1 _; shift
    for _ in $(seq 120); do "$@" >/dev/null 2>&1 && return; sleep 0.25; done
    absent "$what does not come up; see /var/log/slurm*.log"
}

running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

check() {
    [ "$(id -u)" = 0 ] || absent "it takes root to install and start daemons"
    if [ -e $ETC/slurm.conf ]; then
        grep -q "^$MARK" $ETC/slurm.conf || absent "$ETC/slurm.conf belongs to another cluster, which is left alone"
    fi
    command -v apt-get >/dev/null || absent "there is no apt-get to install it with"
}

install_packages() {
    # shellcheck disable=SC2086 # one word per package
    dpkg -s $PACKAGES >/dev/null 2>&1 && return
    export DEBIAN_FRONTEND=noninteractive
    # Daemons are started below, with our configuration; installing must not start any.
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; trap "rm -f $policy" EXIT; }
    apt-get update -qq >/dev/null || absent "apt-get update fails"
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $PACKAGES >/dev/null || absent "apt-get can not install $PACKAGES"
}

configure() {
    mkdir -p $ETC /var/spool/slurmctld /var/spool/slurmd
    local gpu
    for gpu in $(seq 0 $((GPUS - 1))); do # copies of /dev/null: without device files no CUDA_VISIBLE_DEVICES
        [ -e "/dev/fakegpu$gpu" ] || mknod -m 666 "/dev/fakegpu$gpu" c 1 3 || absent "device files can not be made"
    done
    echo "NodeName=localhost Name=gpu File=/dev/fakegpu[0-$((GPUS - 1))]" >$ETC/gres.conf
    cat >$ETC/slurm.conf <<EOF
$MARK
ClusterName=worldmodels
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that was requeued may start again after this many seconds; the default takes two minutes.
AuthInfo=cred_expire=5
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
# Neither cgroups nor systemd are needed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
JobAcctGatherType=jobacct_gather/linux
NodeName=localhost CPUs=$CPUS RealMemory=16000 Gres=gpu:$GPUS State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=localhost MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
EOF
    cat >$ETC/slurmdbd.conf <<EOF
$MARK
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=/var/log/slurmdbd.log
PidFile=/run/slurmdbd.pid
EOF
    chmod 600 $ETC/slurmdbd.conf
}

start() {
    mkdir -p /run/munge /run/mysqld
    chown munge:munge /run/munge
    chown mysql:mysql /run/mysqld
    running /run/munge/munged.pid || runuser -u munge -- /usr/sbin/munged
    if ! mysqladmin ping >/dev/null 2>&1; then
        setsid mariadbd --user=mysql --skip-networking --innodb-buffer-pool-size=64M \
            >/var/log/worldmodels-mariadbd.log 2>&1 </dev/null &
        echo $! >/run/worldmodels-mariadbd.pid
    fi
    waits_for "the database" mysqladmin ping
    mysql -e "create database if not exists slurm_acct_db;
        create user if not exists 'slurm'@'localhost' identified by 'slurm';
        grant all on slurm_acct_db.* to 'slurm'@'localhost'"
    running /run/slurmdbd.pid || slurmdbd
    waits_for "accounting" sacctmgr -n list cluster
    sacctmgr -i add cluster worldmodels >/dev/null 2>&1 || true # it may be there
    running /run/slurmctld.pid || slurmctld
    waits_for "the controller" sh -c 'scontrol ping | grep -q UP'
    running /run/slurmd.pid || slurmd -N localhost
    waits_for "the node" sh -c 'sinfo -h -o %t | grep -qE "^(idle|mix|alloc)"'
}

stop() {
    local pid
    for pid in slurmd slurmctld slurmdbd worldmodels-mariadbd munge/munged; do
        running /run/$pid.pid && kill "$(cat /run/$pid.pid)"
    done
    true
}

case "${1:-}" in
up)
    check
    install_packages
    configure
    start
    sinfo
    ;;
down)
    check
    stop
    ;;
preempt-by) # what a job is sent when it has to give way: the signal that it asked for, or SLURM's own TERM
    check
    case "${2:-}" in
    usr2) sed -i 's/^#*\(SlurmctldParameters=\)/\1/' $ETC/slurm.conf ;;
    term) sed -i 's/^#*\(SlurmctldParameters=\)/#\1/' $ETC/slurm.conf ;;
    *) absent "preempt-by usr2 or term, not '${2:-}'" ;;
    esac
    scontrol reconfigure
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
