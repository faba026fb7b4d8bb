#!/bin/sh
# One broker of Apache Kafka, alone: broker.sh FOLDER PORT CONTROLLER_PORT
# Its data stays in FOLDER, so that one that was killed can be started again. INFLIGHT_KAFKA_JARS names the folder of its jars.
set -eu
folder=$1 port=$2 controller=$3
mkdir -p "$folder"
if [ ! -e "$folder/server.properties" ]; then
    cat > "$folder/server.properties.new" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
    java -Xmx256m -cp "$INFLIGHT_KAFKA_JARS/*" kafka.tools.StorageTool \
        format --cluster-id MkU3OEVBNTcwNTJENDM2Qg --config "$folder/server.properties.new" > "$folder/log" 2>&1
    mv "$folder/server.properties.new" "$folder/server.properties"
fi
exec java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$INFLIGHT_KAFKA_JARS/*" \
    kafka.Kafka "$folder/server.properties" >> "$folder/log" 2>&1
