#!/bin/bash
# Runs a command beside a real systemd, the first process of namespaces of its own: of processes,
# mounts, control groups. Usage: under_systemd.sh FOLDER ROOT PYTHON COMMAND...
# FOLDER is empty, for all that is written; units are in FOLDER/units. Nothing outside is changed.
set -e
folder=$1 root=$2 python=$3
shift 3

mount --make-rprivate /
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs "$folder/layers"
over() {  # what is written there is gone afterwards
  local layer="$folder/layers/$(echo "$1" | tr / _)"
  mkdir -p "$layer/up" "$layer/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$layer/up,workdir=$layer/work" "$1"
}
over /etc
for used in "$root" "$(dirname "$(readlink -f "$python")")"; do  # another user has to get there
  top=/$(echo "$used" | cut -d/ -f2)
  [ "$(stat -c %A "$top" | cut -c10)" = x ] || { over "$top"; chmod o+x "$top"; }
done
for empty in /run /opt /var/lib; do mount -t tmpfs -o mode=755 tmpfs $empty; done
echo 'arriero:x:4242:4242::/var/lib/arriero:/usr/sbin/nologin' >> /etc/passwd
printf 'arriero:x:4242:\nrender:x:4243:\nvideo:x:4244:\n' >> /etc/group
mkdir -p /opt/arriero/bin /etc/arriero /run/systemd/system
printf '#!/bin/sh\nexec %s -m arriero "$@"\n' "$python" > /opt/arriero/bin/arriero
chmod 755 /opt/arriero/bin/arriero
cp "$folder/config.yaml" /etc/arriero/config.yaml

(
  status=0
  "$@" > "$folder/said" 2>&1 || status=$?
  echo $status > "$folder/status"
  systemctl exit --force --force
) &
export container=unshare SYSTEMD_UNIT_PATH=$folder/units
exec /usr/lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no \
  > "$folder/log" 2>&1
