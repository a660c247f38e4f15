// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A stand-in for the diamond proxy of a ZKsync rollup on a development chain: which batches are committed, verified
/// and executed. Getters and events are the real ones; committing, verifying, executing and reverting are plain calls
/// of the account that deployed it. As on the real one a revert lowers the counters and leaves the hashes.
contract Diamond {
    struct StoredBatchInfo {
        uint64 batchNumber;
        bytes32 batchHash; // the state root
        uint64 indexRepeatedStorageChanges;
        uint256 numberOfLayer1Txs;
        bytes32 priorityOperationsHash;
        bytes32 l2LogsTreeRoot;
        uint256 timestamp;
        bytes32 commitment;
    }

    event BlockCommit(uint256 indexed batchNumber, bytes32 indexed batchHash, bytes32 indexed commitment);
    event BlockExecution(uint256 indexed batchNumber, bytes32 indexed batchHash, bytes32 indexed commitment);
    event BlocksVerification(uint256 indexed previousLastVerifiedBatch, uint256 indexed currentLastVerifiedBatch);
    event BlocksRevert(uint256 totalBatchesCommitted, uint256 totalBatchesVerified, uint256 totalBatchesExecuted);

    error OnlyValidator(address sender);
    error OtherBatchExpected(uint256 got, uint256 want);
    error OtherBatchStored(uint256 batchNumber);
    error OutOfOrder(uint256 batchNumber, uint256 lowest, uint256 highest);

    address public immutable validator;
    mapping(uint256 => bytes32) public storedBatchHash;
    uint256 public getTotalBatchesCommitted; // the number of the last one: batch 0 is there from the start
    uint256 public getTotalBatchesVerified;
    uint256 public getTotalBatchesExecuted;

    modifier onlyValidator() {
        if (msg.sender != validator) revert OnlyValidator(msg.sender);
        _;
    }

    /// `genesis` is where the chain begins: committed, verified and executed. Its number is 0, or that of the batch
    /// after which a chain that is older than this contract goes on.
    constructor(StoredBatchInfo memory genesis) {
        validator = msg.sender;
        storedBatchHash[genesis.batchNumber] = keccak256(abi.encode(genesis));
        getTotalBatchesCommitted = getTotalBatchesVerified = getTotalBatchesExecuted = genesis.batchNumber;
    }

    function commitBatches(StoredBatchInfo[] calldata batches) external onlyValidator {
        uint256 committed = getTotalBatchesCommitted;
        for (uint256 i = 0; i < batches.length; i++) {
            StoredBatchInfo calldata batch = batches[i];
            committed++;
            if (batch.batchNumber != committed) revert OtherBatchExpected(batch.batchNumber, committed);
            storedBatchHash[committed] = keccak256(abi.encode(batch));
            emit BlockCommit(committed, batch.batchHash, batch.commitment);
        }
        getTotalBatchesCommitted = committed;
    }

    function verifyBatches(uint256 newLast) external onlyValidator {
        uint256 before = getTotalBatchesVerified;
        between(newLast, before + 1, getTotalBatchesCommitted);
        getTotalBatchesVerified = newLast;
        emit BlocksVerification(before, newLast);
    }

    function executeBatches(StoredBatchInfo[] calldata batches) external onlyValidator {
        uint256 executed = getTotalBatchesExecuted;
        for (uint256 i = 0; i < batches.length; i++) {
            StoredBatchInfo calldata batch = batches[i];
            executed++;
            if (batch.batchNumber != executed) revert OtherBatchExpected(batch.batchNumber, executed);
            between(executed, 1, getTotalBatchesVerified);
            if (storedBatchHash[executed] != keccak256(abi.encode(batch))) revert OtherBatchStored(executed);
            emit BlockExecution(executed, batch.batchHash, batch.commitment);
        }
        getTotalBatchesExecuted = executed;
    }

    /// Gives up every batch above `newLast`, which may not be executed.
    function revertBatches(uint256 newLast) external onlyValidator {
        uint256 committed = getTotalBatchesCommitted;
        if (newLast >= committed) revert OutOfOrder(newLast, getTotalBatchesExecuted, committed - 1);
        between(newLast, getTotalBatchesExecuted, committed);
        getTotalBatchesCommitted = newLast;
        if (getTotalBatchesVerified > newLast) getTotalBatchesVerified = newLast;
        emit BlocksRevert(newLast, getTotalBatchesVerified, getTotalBatchesExecuted);
    }

    function between(uint256 number, uint256 lowest, uint256 highest) private pure {
        if (number < lowest || number > highest) revert OutOfOrder(number, lowest, highest);
    }
}
