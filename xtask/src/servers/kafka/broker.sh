#!/bin/sh
# One broker of Apache Kafka, alone: broker.sh FOLDER CONTROLLER_PORT LISTENER:PORT[:ADVERTISED_PORT]...
#
#   PLAINTEXT   for everybody
#   PROXIED     the same, for clients that come through a proxy at the port that is advertised
#   SECURE      encrypted, for the user inflight with the password INFLIGHT_KAFKA_PASSWORD (PLAIN, SCRAM)
#   MUTUAL      encrypted, for clients that show the certificate client.crt
#
# The last two need the folder INFLIGHT_KAFKA_CERTIFICATES, with broker.pem (certificate and key) and client.crt in it.
# The data stay in FOLDER, so that a broker that was killed can be started again; the ports may be others then.
# INFLIGHT_KAFKA_JARS names the folder of its jars.
set -eu
folder=$1 controller=$2
shift 2
mkdir -p "$folder"

listeners=CONTROLLER://127.0.0.1:$controller
protocols=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL
advertised=
encrypted=
for listener in "$@"; do
    name=${listener%%:*} ports=${listener#*:}
    listeners=$listeners,$name://127.0.0.1:${ports%%:*}
    advertised=${advertised:+$advertised,}$name://127.0.0.1:${ports##*:}
    case $name in SECURE | MUTUAL) encrypted=yes ;; esac
done

{
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=$listeners
advertised.listeners=$advertised
listener.security.protocol.map=$protocols
inter.broker.listener.name=PLAINTEXT
log.dirs=$folder/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=false
PROPERTIES
    if [ -n "$encrypted" ]; then
        scram=org.apache.kafka.common.security.scram.ScramLoginModule
        plain=org.apache.kafka.common.security.plain.PlainLoginModule
        cat <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$INFLIGHT_KAFKA_CERTIFICATES/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$INFLIGHT_KAFKA_CERTIFICATES/client.crt
listener.name.mutual.ssl.client.auth=required
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.secure.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.secure.plain.sasl.jaas.config=$plain required user_inflight="$INFLIGHT_KAFKA_PASSWORD";
PROPERTIES
    fi
} > "$folder/server.properties"

if [ ! -e "$folder/formatted" ]; then
    set -- format --cluster-id MkU3OEVBNTcwNTJENDM2Qg --config "$folder/server.properties"
    if [ -n "$encrypted" ]; then
        credentials="[name=inflight,password=$INFLIGHT_KAFKA_PASSWORD]"
        set -- "$@" --add-scram "SCRAM-SHA-256=$credentials" --add-scram "SCRAM-SHA-512=$credentials"
    fi
    java -Xmx256m -cp "$INFLIGHT_KAFKA_JARS/*" kafka.tools.StorageTool "$@" > "$folder/log" 2>&1
    touch "$folder/formatted"
fi
exec java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$INFLIGHT_KAFKA_JARS/*" \
    kafka.Kafka "$folder/server.properties" >> "$folder/log" 2>&1
